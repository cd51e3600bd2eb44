//! Many orders of events: emitters that await, drop and leak what they emit, and are dropped themselves at any poll; handlers of every kind,
//! slow and failing ones among them. Whatever the order, the promises hold.
//!
//! `SEEDS=100000 cargo test --release -p rappel-tests --test it simulation` tries more of them; `SEED=7` replays one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_lite::future::{block_on, poll_once, yield_now};
use rappel_core::LlmRun;
use rappel_core::prelude::*;
use rappel_tests::simulator::Simulator;

const RUNS: usize = 3;
const MOST_TOKENS: usize = 6;
const MOST_POLLS: usize = 40;

/// What each handler saw of each run, in order.
type Seen = Arc<Mutex<BTreeMap<(&'static str, String), Vec<String>>>>;

/// What an emitter did for certain.
#[derive(Default)]
struct Done {
    started: bool,
    /// The tokens that it awaited to the end.
    awaited: Vec<String>,
    /// Whether it awaited the end of the run.
    ended: bool,
}

type Deeds = Arc<Mutex<BTreeMap<String, Done>>>;

/// Where one emitter writes down what it did.
struct Diary {
    name: String,
    deeds: Deeds,
}

impl Diary {
    fn did(&self, deed: impl FnOnce(&mut Done)) {
        deed(self.deeds.lock().unwrap().entry(self.name.clone()).or_default());
    }
}

fn write(seen: &Seen, handler: &'static str, run: &RunInfo, line: String) {
    seen.lock().unwrap().entry((handler, run.name().to_owned())).or_default().push(line);
}

fn line(event: &Event) -> String {
    match event {
        Event::LlmNewToken(token) => token.token.to_string(),
        Event::LlmEnd(end) => format!("end {}", end.result.text()),
        Event::LlmError(error) => format!("error {}", error.partial.text()),
        other => other.kind().to_string(),
    }
}

/// Yields a drawn number of times in each call, and writes where the call begins and where it ends.
struct Slow(Simulator, Seen);

impl AsyncCallbackHandler for Slow {
    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> rappel_core::HandlerFuture<'a> {
        rappel_core::HandlerFuture::new(async move {
            write(&self.1, "slow, begins", run, line(event));
            for _ in 0..self.0.draw(4) {
                yield_now().await;
            }
            write(&self.1, "slow, ends", run, line(event));
            Ok(())
        })
    }
}

fn callbacks(simulator: &Simulator, seen: &Seen) -> CallbackManager {
    let sync = |name: &'static str, fails: bool| {
        let (seen, simulator) = (seen.clone(), simulator.clone());
        handler_fn(move |event, run| {
            write(&seen, name, run, line(event));
            if fails && simulator.draw(3) == 0 {
                Err(HandlerError::new("drawn"))
            } else {
                Ok(())
            }
        })
    };
    let quick = seen.clone();
    CallbackManager::new(simulator.clone())
        .on_handler_failure(|_| {})
        .with_handler(sync("sync", false))
        .with_handler(sync("sync, fails", true))
        .with_handler_options(sync("inline", false), HandlerOptions::new().run_inline(true))
        .with_async_handler(Slow(simulator.clone(), seen.clone()))
        .with_async_handler(async_handler_fn(move |event, run| {
            write(&quick, "quick", run, line(event));
            async { Ok(()) }
        }))
        .erase()
}

/// Starts a run, tells of tokens in one way or another, and ends the run in one way or another.
async fn emitter(simulator: Simulator, callbacks: CallbackManager, diary: Diary) {
    let start = LlmStart::new(diary.name.as_str(), "prompt");
    let run = callbacks.on_llm_start(start).await.unwrap();
    diary.did(|done| done.started = true);
    for number in 0..simulator.draw(MOST_TOKENS + 1) {
        let token = format!("{number} ");
        let mut emit = run.on_llm_new_token(token.as_str());
        match simulator.draw(4) {
            // Left alone after a poll: dropped, or leaked.
            0 => drop(poll_once(&mut emit).await),
            1 => {
                let _ = poll_once(&mut emit).await;
                std::mem::forget(emit);
            }
            _ => {
                emit.await.unwrap();
                diary.did(|done| done.awaited.push(token));
            }
        }
    }
    finish(simulator.draw(4), run, &diary).await;
}

async fn finish(way: usize, run: LlmRun, diary: &Diary) {
    match way {
        0 => drop(run),
        1 => {
            let _ = poll_once(run.end(LlmResult::from_text("early"))).await;
        }
        2 => run.error("broken").await.unwrap(),
        _ => {
            run.end(LlmResult::from_text("whole")).await.unwrap();
            diary.did(|done| done.ended = true);
        }
    }
}

/// A future that is dropped after so many polls.
struct DroppedAfter<F>(Option<Pin<Box<F>>>, usize);

impl<F: Future<Output = ()>> Future for DroppedAfter<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match (self.1.checked_sub(1), &mut self.0) {
            (Some(left), Some(future)) => {
                let poll = future.as_mut().poll(cx);
                self.1 = left;
                if left == 0 {
                    self.0 = None;
                    return Poll::Ready(());
                }
                poll
            }
            _ => Poll::Ready(()),
        }
    }
}

fn simulate(seed: u64) {
    let simulator = Simulator::new(seed);
    let (seen, deeds) = (Seen::default(), Deeds::default());
    let callbacks = callbacks(&simulator, &seen);
    for number in 0..RUNS {
        let diary = Diary {
            name: format!("run {number}"),
            deeds: deeds.clone(),
        };
        let task = emitter(simulator.clone(), callbacks.clone(), diary);
        // Half of the emitters live to their end.
        let polls = if simulator.draw(2) == 0 {
            usize::MAX
        } else {
            1 + simulator.draw(MOST_POLLS)
        };
        simulator.go(DroppedAfter(Some(Box::pin(task)), polls));
    }
    assert_eq!(simulator.run(), 0, "tasks are stuck");
    assert!(block_on(poll_once(callbacks.flush())).is_some(), "something is not handled");

    let seen = seen.lock().unwrap();
    for number in 0..RUNS {
        let name = format!("run {number}");
        let of = |handler| seen.get(&(handler, name.clone())).cloned().unwrap_or_default();
        let events = of("sync");
        for handler in ["sync, fails", "inline", "quick", "slow, begins", "slow, ends"] {
            assert_eq!(of(handler), events, "{handler} saw other events of {name}");
        }
        check(&events, deeds.lock().unwrap().get(&name));
    }
}

/// A start first, then tokens in the order of their emission, exactly one end last; with all that was awaited.
fn check(events: &[String], done: Option<&Done>) {
    let Some((start, rest)) = events.split_first() else {
        return assert!(done.is_none_or(|done| !done.started), "a run that started was never told of");
    };
    assert_eq!(start, "on_llm_start", "{events:?}");
    let (end, tokens) = rest.split_last().expect("a run has an end");
    assert!(tokens.is_sorted() && tokens.iter().all(|token| token.ends_with(' ')), "{events:?}");
    if let Some(partial) = end.strip_prefix("error ") {
        assert_eq!(partial, tokens.concat(), "{events:?}");
    } else {
        assert!(end == "end whole" || end == "end early", "{events:?}");
    }
    if let Some(done) = done {
        assert!(done.awaited.iter().all(|token| tokens.contains(token)), "{events:?}");
        assert!(!done.ended || end == "end whole", "{events:?}");
    }
}

#[test]
fn the_promises_hold_in_every_order() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(2_000),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| simulate(seed));
        assert!(outcome.is_ok(), "SEED={seed} replays it");
    }
}
