//! Runs, emits, starts and ends can be dropped, or leaked, at any await point: every started run has exactly one end, calls that began run to
//! their end, and the order is kept.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_channel::oneshot::{Receiver, Sender, channel};
use futures_lite::future::{poll_once, yield_now};
use futures_util::FutureExt;
use futures_util::future::{Either, Shared, select};
use rappel_core::prelude::*;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, ChainRun, EmitError, Interest, SpawnError, Spawner, StartError, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::{Log, line};
use rappel_tests::runtimes::Rt;

/// How often the slow handler yields in each call.
const YIELDS: usize = 3;

/// Three handlers: one slow async one that writes when a call begins and ends, and two that write every event.
fn watched(rt: &Rt) -> (CallbackManager, Log, Log, Log) {
    let (slow, sync, asynchronous) = (Log::new(), Log::new(), Log::new());
    let writes = slow.clone();
    let slow_handler = async_handler_fn(move |event, _| {
        let (log, kind) = (writes.clone(), event.kind());
        async move {
            log.write(format!("{kind} begins"));
            for _ in 0..YIELDS {
                yield_now().await;
            }
            log.write(format!("{kind} ends"));
            Ok(())
        }
    });
    let callbacks = rt
        .callbacks()
        .with_async_handler(slow_handler)
        .with_handler(sync.handler())
        .with_async_handler(asynchronous.async_handler());
    (callbacks, slow, sync, asynchronous)
}

/// Adds a handler that keeps a text waiting until the sender is dropped.
fn gated(callbacks: CallbackManager) -> (CallbackManager, Sender<()>) {
    let (gate, opens) = channel();
    let opens = opens.shared();
    let waits = async_handler_fn(move |event, _| {
        let opens = matches!(event, Event::Text(_)).then(|| opens.clone());
        async move {
            if let Some(opens) = opens {
                let _ = opens.await;
            }
            Ok(())
        }
    });
    (callbacks.with_async_handler(waits), gate)
}

/// Wants starts and texts, and nothing else: so a run that is given up has nobody to be told. Its calls wait until the gate is dropped.
struct Quiet {
    opens: Shared<Receiver<()>>,
    log: Log,
}

impl Quiet {
    fn gated(callbacks: CallbackManager<Rt>) -> (CallbackManager<Rt>, Sender<()>, Log) {
        let (gate, opens) = channel();
        let log = Log::new();
        let handler = Self {
            opens: opens.shared(),
            log: log.clone(),
        };
        (callbacks.with_async_handler(handler), gate, log)
    }

    async fn call(&self, name: &str) -> HandlerResult {
        let _ = self.opens.clone().await;
        self.log.write(name);
        Ok(())
    }
}

impl AsyncCallbackHandler for Quiet {
    fn interest(&self) -> Interest {
        Interest::only(EventKind::ChainStart).with(EventKind::Text)
    }

    async fn on_chain_start(&self, _: &ChainStart, _: &RunInfo) -> HandlerResult {
        self.call("start").await
    }

    async fn on_text(&self, _: &Text, _: &RunInfo) -> HandlerResult {
        self.call("text").await
    }
}

/// A runtime whose tasks are polled by whoever has them.
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

/// Every call that began ended, before the next one began.
fn assert_whole(slow: &Log) {
    let lines = slow.lines();
    for call in lines.chunks(2) {
        let (kind, begins) = call[0].split_once(' ').unwrap();
        assert_eq!((begins, call.get(1)), ("begins", Some(&format!("{kind} ends"))), "{lines:?}");
    }
}

async fn whole_run(callbacks: &CallbackManager) -> Result<(), RunError> {
    let chain: Result<ChainRun, StartError<ChainRun>> = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await;
    let chain = chain?;
    let emitted: Result<(), EmitError> = chain.on_text("a").await;
    emitted?;
    chain.on_text("b").await?;
    chain.end(json!(1)).await?;
    Ok(())
}

const WHOLE: [&str; 4] = ["chain_start: 0", "text: a", "text: b", "chain_end: 1"];

/// What was seen is the beginning of the run, and one end.
fn assert_one_end(log: &Log, polls: usize) {
    let lines = log.lines();
    let Some((end, before)) = lines.split_last() else {
        return assert_eq!(polls, 0);
    };
    assert!(
        end == "chain_end: 1" || end == "chain_error: cancelled",
        "after {polls} polls: {lines:?}"
    );
    assert_eq!(before, &WHOLE[..before.len()], "after {polls} polls");
    assert!(before.len() < WHOLE.len(), "after {polls} polls: {lines:?}");
}

on_every_runtime! {
    /// Dropped after k polls, for every k until it is through.
    async fn a_task_that_is_dropped_at_any_poll(rt) {
        for polls in 0.. {
            let (callbacks, slow, sync, asynchronous) = watched(&rt);
            let through = {
                let mut task = pin!(whole_run(&callbacks));
                let mut through = false;
                for _ in 0..polls {
                    through |= poll_once(&mut task).await.is_some();
                    if through {
                        break;
                    }
                    yield_now().await;
                }
                through
            };
            callbacks.flush().await;
            assert_whole(&slow);
            assert_one_end(&sync, polls);
            assert_eq!(sync.lines(), asynchronous.lines());
            if through {
                assert_eq!(sync.lines(), WHOLE);
                break;
            }
        }
    }

    /// The same with its emits leaked instead of dropped: the run itself goes on, and ends.
    async fn an_emit_that_is_leaked_at_any_poll(rt) {
        for polls in 0..=YIELDS + 1 {
            let (callbacks, slow, sync, asynchronous) = watched(&rt);
            let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
            let mut emit = chain.on_text("a");
            for _ in 0..polls {
                if poll_once(&mut emit).await.is_some() {
                    break;
                }
            }
            std::mem::forget(emit);
            chain.on_text("b").await.unwrap();
            chain.end(json!(1)).await.unwrap();
            callbacks.flush().await;
            assert_whole(&slow);
            let expected: Vec<&str> = WHOLE.into_iter().filter(|line| polls > 0 || *line != "text: a").collect();
            assert_eq!(sync.lines(), expected, "after {polls} polls");
            assert_eq!(sync.lines(), asynchronous.lines());
        }
    }

    /// The leaked call is finished also where nobody wants to hear that the run was given up.
    async fn a_leaked_emit_of_a_run_that_is_dropped_quietly(rt) {
        struct TextsOnly(Log);

        impl AsyncCallbackHandler for TextsOnly {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::Text)
            }

            async fn on_text(&self, _: &Text, _: &RunInfo) -> HandlerResult {
                self.0.write("begins");
                yield_now().await;
                self.0.write("ends");
                Ok(())
            }
        }

        let log = Log::new();
        let callbacks = rt.callbacks().with_async_handler(TextsOnly(log.clone()));
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let mut emit = chain.on_text("a");
        assert!(poll_once(&mut emit).await.is_none());
        std::mem::forget(emit);
        drop(chain);
        callbacks.flush().await;
        assert_eq!(log.lines(), ["begins", "ends"]);
    }

    /// The start is handed over, and its run given up, both in one drop: whoever sees the call through comes to an end.
    async fn a_start_that_is_dropped_quietly(rt) {
        let (callbacks, gate, log) = Quiet::gated(CallbackManager::new(rt.clone()));
        let mut start = callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
        assert!(poll_once(&mut start).await.is_none());
        drop(start);
        // The tasks that the drop spawned wait for the call, on a runtime of one thread; they are woken together.
        for _ in 0..YIELDS {
            yield_now().await;
        }
        drop(gate);
        callbacks.flush().await;
        assert_eq!(log.lines(), ["start"]);
        rt.go(yield_now()).await;
    }

    /// A shutdown gives a run up whose emitter is still there, and gets what comes of its event.
    async fn an_emit_beside_a_shutdown_that_is_quiet(rt) {
        let (callbacks, gate, log) = Quiet::gated(CallbackManager::new(rt.clone()));
        let mut start = callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
        assert!(poll_once(&mut start).await.is_none());
        let _ = callbacks.shutdown(Duration::ZERO).await;
        for _ in 0..YIELDS {
            yield_now().await;
        }
        drop(gate);
        callbacks.flush().await;
        assert!(start.await.is_ok());
        assert_eq!(log.lines(), ["start"]);
    }

    /// A handler that polls the executor's tasks inside its call, where one of those tells that the very run was given up: that is told after the call.
    async fn a_run_that_is_closed_inside_a_call_for_its_event(rt) {
        let runtime = ByHand { tasks: Arc::default(), rt: rt.clone() };
        let log = Log::new();
        let (writes, polls) = (log.clone(), runtime.clone());
        let callbacks = CallbackManager::new(runtime.clone()).with_async_handler(async_handler_fn(move |event, _| {
            let (log, line) = (writes.clone(), line(event));
            let polls = matches!(event, Event::Text(_)).then(|| polls.clone());
            async move {
                if let Some(runtime) = polls {
                    yield_now().await;
                    runtime.poll_all().await;
                }
                log.write(line);
                Ok(())
            }
        }));
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let mut emit = chain.on_text("a");
        assert!(poll_once(&mut emit).await.is_none());
        drop(emit);
        drop(chain);
        for _ in 0..YIELDS {
            runtime.poll_all().await;
        }
        assert_eq!(log.lines(), ["chain_start: 0", "text: a", "chain_error: cancelled"]);
    }

    /// Not polled, it has not happened.
    async fn an_emit_that_is_never_polled(rt) {
        let (callbacks, _slow, sync, _) = watched(&rt);
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        drop(chain.on_text("never"));
        drop(callbacks.on_chain_start(ChainStart::new("never", json!(0))));
        drop(chain.end(json!(1)));
        callbacks.flush().await;
        assert_eq!(sync.lines(), ["chain_start: 0", "chain_error: cancelled"]);
    }

    /// The end waits behind an event whose emitter is gone, and is dropped there: it was not accepted, so the run is cancelled.
    async fn an_end_that_is_dropped_behind_another_event(rt) {
        let (callbacks, slow, sync, asynchronous) = watched(&rt);
        let (callbacks, gate) = gated(callbacks);
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let mut emit = chain.on_text("a");
        assert!(poll_once(&mut emit).await.is_none());
        drop(emit);
        let mut end = chain.end(json!(1));
        assert!(poll_once(&mut end).await.is_none());
        drop(end);
        drop(gate);
        callbacks.flush().await;
        assert_whole(&slow);
        assert_eq!(sync.lines(), ["chain_start: 0", "text: a", "chain_error: cancelled"]);
        assert_eq!(sync.lines(), asynchronous.lines());
    }

    /// Once accepted, an end is delivered as an end, whatever becomes of who waits for it.
    async fn an_end_that_is_dropped_once_accepted(rt) {
        let (callbacks, slow, sync, asynchronous) = watched(&rt);
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let mut end = chain.end(json!(1));
        assert!(poll_once(&mut end).await.is_none());
        drop(end);
        callbacks.flush().await;
        assert_whole(&slow);
        assert_eq!(sync.lines(), ["chain_start: 0", "chain_end: 1"]);
        assert_eq!(sync.lines(), asynchronous.lines());
    }

    /// A waiter that took over the polling, and is dropped, leaves the event to others.
    async fn a_waiter_that_is_dropped_leaves_no_one_hanging(rt) {
        let (callbacks, slow, sync, _) = watched(&rt);
        let (callbacks, gate) = gated(callbacks);
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let first = chain.on_text("a");
        let second = async {
            let mut waiting = chain.on_text("never accepted");
            assert!(poll_once(&mut waiting).await.is_none());
            drop(gate);
        };
        // `first` is polled first, then `second` waits behind it, polls it on, and is gone.
        let first = match select(first, pin!(second)).await {
            Either::Left((outcome, _)) => return outcome.unwrap(),
            Either::Right(((), first)) => first,
        };
        first.await.unwrap();
        drop(chain);
        callbacks.flush().await;
        assert_whole(&slow);
        assert_eq!(sync.lines(), ["chain_start: 0", "text: a", "chain_error: cancelled"]);
    }

    /// A task of the runtime that is cancelled from outside, as a web server does when its client goes.
    async fn a_future_that_loses_a_race(rt) {
        let (callbacks, slow, sync, asynchronous) = watched(&rt);
        let racing = callbacks.clone();
        rt.go(async move {
            let run = pin!(whole_run(&racing));
            let mut turns = 0;
            let timeout = pin!(async {
                while turns < 2 {
                    yield_now().await;
                    turns += 1;
                }
            });
            select(run, timeout).await;
        })
        .await;
        callbacks.flush().await;
        assert_whole(&slow);
        assert_one_end(&sync, 1);
        assert_eq!(sync.lines(), asynchronous.lines());
    }
}
