//! Runs, emits, starts and ends that are dropped at any await point: every started run has exactly
//! one end, calls that began run to their end, and the order is kept.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::future::{Either, select};
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner};

use super::*;

/// How often the slow handler yields in each call.
pub(super) const YIELDS: usize = 3;

/// Three handlers: a slow async one that writes when a call begins and ends, and two that write
/// every event.
pub(super) struct Three {
    pub(super) callbacks: CallbackManager,
    slow: Log,
    pub(super) sync: Log,
    asynchronous: Log,
}

impl Three {
    pub(super) fn new(rt: &Rt) -> Self {
        let (slow, sync, asynchronous) = (Log::new(), Log::new(), Log::new());
        let log = slow.clone();
        let slow_handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
            log.write(format!("{} begins", event.kind()));
            for _ in 0..YIELDS {
                yield_now().await;
            }
            log.write(format!("{} ends", event.kind()));
            Ok(())
        });
        let callbacks = rt
            .callbacks()
            .with_async_handler(slow_handler)
            .with_handler(sync.handler())
            .with_async_handler(asynchronous.async_handler());
        Self { callbacks, slow, sync, asynchronous }
    }

    /// Every call that began ended before the next one began, and both others saw the same.
    pub(super) async fn assert_whole(&self) -> Vec<String> {
        self.callbacks.flush().await.unwrap();
        let lines = self.slow.lines();
        for call in lines.chunks(2) {
            let (kind, begins) = call[0].split_once(' ').unwrap();
            let ends = Some(format!("{kind} ends"));
            assert_eq!((begins, call.get(1)), ("begins", ends.as_ref()), "{lines:?}");
        }
        assert_eq!(self.sync.lines(), self.asynchronous.lines());
        self.sync.lines()
    }
}

pub(super) const WHOLE: [&str; 4] = ["chain_start: 0", "text: a", "text: b", "chain_end: 1"];

async fn whole_run(callbacks: &CallbackManager) -> Result<(), RunError> {
    let mut chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await?;
    chain.on_text("a").await?;
    chain.on_text("b").await?;
    chain.end(json!(1)).await?;
    Ok(())
}

/// What was seen is the beginning of the run, and one end.
fn assert_one_end(lines: &[String], polls: usize) {
    let Some((end, before)) = lines.split_last() else {
        return assert_eq!(polls, 0);
    };
    let is_end = end == "chain_end: 1" || end == "chain_error: cancelled";
    assert!(is_end, "after {polls} polls: {lines:?}");
    assert!(before.len() < WHOLE.len(), "after {polls} polls: {lines:?}");
    assert_eq!(before, &WHOLE[..before.len()], "after {polls} polls");
}

/// A runtime whose tasks are polled by the test.
#[derive(Clone)]
struct ByHand {
    tasks: Arc<Mutex<VecDeque<BoxFuture<'static, ()>>>>,
    rt: Rt,
}

impl ByHand {
    async fn poll_all(&self) {
        let next = || self.tasks.lock().unwrap().pop_front();
        let count = self.tasks.lock().unwrap().len();
        for _ in 0..count {
            let Some(mut task) = next() else { break };
            if poll_once(&mut task).await.is_none() {
                self.tasks.lock().unwrap().push_back(task);
            }
        }
    }
}

impl Spawner for ByHand {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.tasks.lock().unwrap().push_back(task);
        Ok(())
    }
}

impl BlockingExecutor for ByHand {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.rt.spawn_blocking_boxed(job)
    }
}

on_every_runtime! {
    /// Dropped after k polls, for every k until it is ready.
    async fn a_task_that_is_dropped_at_any_poll_has_one_end(rt) {
        for polls in 0.. {
            let three = Three::new(&rt);
            let mut ready = false;
            {
                let mut task = pin!(whole_run(&three.callbacks));
                for _ in 0..polls {
                    ready |= poll_once(&mut task).await.is_some();
                    if ready {
                        break;
                    }
                    yield_now().await;
                }
            }
            let lines = three.assert_whole().await;
            assert_one_end(&lines, polls);
            if ready {
                assert_eq!(lines, WHOLE);
                break;
            }
        }
    }

    /// Emits and starts that were not polled have not happened. An end that was not polled ends
    /// its run all the same.
    async fn an_emit_that_is_never_polled_does_not_happen(rt) {
        let three = Three::new(&rt);
        let mut chain = chain(&three.callbacks, "chain").await;
        drop(chain.on_text("never"));
        drop(three.callbacks.on_chain_start(ChainStart::new("never", json!(0))));
        drop(chain.end(json!(1)));
        assert_eq!(three.assert_whole().await, ["chain_start: 0", "chain_end: 1"]);
    }

    /// The end waits for an event whose emitter is gone, and is dropped there.
    async fn an_end_that_is_dropped_behind_another_event_comes_after_that(rt) {
        let mut three = Three::new(&rt);
        let (waits, gate) = gated(|event| matches!(event, Event::Text(_)));
        three.callbacks = three.callbacks.with_async_handler(waits);
        let mut chain = chain(&three.callbacks, "chain").await;
        let mut emit = chain.on_text("a");
        assert!(poll_once(&mut emit).await.is_none());
        drop(emit);
        let mut end = chain.end(json!(1));
        assert!(poll_once(&mut end).await.is_none());
        drop(end);
        drop(gate);
        let lines = three.assert_whole().await;
        assert_eq!(lines, ["chain_start: 0", "text: a", "chain_end: 1"]);
    }

    /// An emit that waits for the one before it, and is dropped there, has not happened.
    async fn an_emit_that_is_dropped_behind_another_event_does_not_happen(rt) {
        let mut three = Three::new(&rt);
        let (waits, gate) = gated(|event| matches!(event, Event::Text(_)));
        three.callbacks = three.callbacks.with_async_handler(waits);
        let mut chain = chain(&three.callbacks, "chain").await;
        for text in ["a", "never accepted"] {
            let mut emit = chain.on_text(text);
            assert!(poll_once(&mut emit).await.is_none());
            drop(emit);
        }
        drop(gate);
        chain.on_text("b").await.unwrap();
        drop(chain);
        let lines = three.assert_whole().await;
        assert_eq!(lines, ["chain_start: 0", "text: a", "text: b", "chain_error: cancelled"]);
    }

    /// Once accepted, an end is delivered as an end, whatever happens to its future.
    async fn an_end_that_is_dropped_when_it_is_accepted_is_an_end(rt) {
        let three = Three::new(&rt);
        let mut end = chain(&three.callbacks, "chain").await.end(json!(1));
        assert!(poll_once(&mut end).await.is_none());
        drop(end);
        assert_eq!(three.assert_whole().await, ["chain_start: 0", "chain_end: 1"]);
    }

    /// A task of the runtime is cancelled from outside, as a web server does when its client goes.
    async fn a_future_that_loses_a_race_has_one_end(rt) {
        let three = Three::new(&rt);
        let racing = three.callbacks.clone();
        rt.go(async move {
            let timeout = async {
                for _ in 0..2 {
                    yield_now().await;
                }
            };
            match select(pin!(whole_run(&racing)), pin!(timeout)).await {
                Either::Left((output, _)) => output.unwrap(),
                Either::Right(((), _)) => {}
            }
        })
        .await;
        assert_one_end(&three.assert_whole().await, 1);
    }

    /// A handler polls the executor's tasks inside its call, and one of those tasks says that the
    /// very run was given up. That is delivered after the call.
    async fn a_run_that_is_closed_inside_a_call_for_its_event_ends_after_the_call(rt) {
        let runtime = ByHand { tasks: Arc::default(), rt: rt.clone() };
        let log = Log::new();
        let (writes, polls) = (log.clone(), runtime.clone());
        let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if matches!(event, Event::Text(_)) {
                yield_now().await;
                polls.poll_all().await;
            }
            writes.write(line(event));
            Ok(())
        });
        let callbacks =
            CallbackManager::without_timer(runtime.clone()).with_async_handler(handler);
        let mut chain = chain(&callbacks, "chain").await;
        let mut emit = chain.on_text("a");
        assert!(poll_once(&mut emit).await.is_none());
        drop(emit);
        drop(chain);
        for _ in 0..20 {
            runtime.poll_all().await;
        }
        assert_eq!(log.lines(), ["chain_start: 0", "text: a", "chain_error: cancelled"]);
    }
}
