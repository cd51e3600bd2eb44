//! Promise 3: a sync handler never blocks the event loop, unless it asked to be called inline; and
//! an emitter that is always ready leaves the loop to others now and then.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, ThreadId};

use futures_channel::oneshot;
use rappel_tests::held::held;
use rappel_tests::on_every_runtime;

use super::*;

/// Blocks its thread in every call until the test says go.
struct Blocking(Receiver<()>);

impl CallbackHandler for Blocking {
    fn on_event(&mut self, _: &Event, _: &EventContext) -> HandlerResult {
        self.0.recv()?;
        Ok(())
    }
}

/// Tells the thread that it is dropped on.
struct DroppedOn(Option<oneshot::Sender<ThreadId>>);

impl CallbackHandler for DroppedOn {
    fn on_event(&mut self, _: &Event, _: &EventContext) -> HandlerResult {
        Ok(())
    }
}

impl Drop for DroppedOn {
    fn drop(&mut self) {
        let _ = self.0.take().map(|told| told.send(thread::current().id()));
    }
}

type Threads = Arc<Mutex<Vec<ThreadId>>>;

fn on_thread(threads: &Threads) -> impl CallbackHandler + Send + use<> {
    let threads = threads.clone();
    handler_fn(move |_, _| {
        threads.lock().unwrap().push(thread::current().id());
        Ok(())
    })
}

/// Counts its turns on the loop until it is stopped.
fn ticker(rt: &Rt) -> (impl Future<Output = ()>, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (turns, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, stopped) = (turns.clone(), stop.clone());
    let task = rt.go(async move {
        while !stopped.load(Ordering::Acquire) {
            counted.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });
    (task, turns, stop)
}

/// How many tokens are emitted without a pause.
const TOKENS: usize = 20_000;

on_every_runtime! {
    /// The handlers block until a task on the same loop has made progress. If one of them were
    /// called on the loop, nothing would ever move again.
    async fn a_sync_handler_that_blocks_does_not_stall_the_loop(rt: with_blocking_threads) {
        let blocking = || channel::<()>();
        let ((go_1, one), (go_2, two), (go_3, three)) = (blocking(), blocking(), blocking());
        let background = Background::new(1).open_traces(1).overflow(Overflow::Wait);
        let callbacks = rt.callbacks()
            .with_handler(Blocking(one))
            .with_handler_options(Blocking(two), Pipelined::new(1))
            .with_handler_options(Blocking(three), background);
        let ticks = Arc::new(AtomicUsize::new(0));
        let counted = ticks.clone();
        let ticker = rt.go(async move {
            for _ in 0..12 {
                for _ in 0..100 {
                    counted.fetch_add(1, Ordering::Relaxed);
                    yield_now().await;
                }
                for go in [&go_1, &go_2, &go_3] {
                    go.send(()).unwrap();
                }
            }
        });
        streamed(callbacks.clone(), "run".into(), 10).await.unwrap();
        ticker.await;
        assert_eq!(ticks.load(Ordering::Relaxed), 1_200);
        callbacks.flush().await.unwrap();
    }

    async fn sync_handlers_are_called_on_other_threads_than_the_emitters(
        rt: with_blocking_threads
    ) {
        let (off_loop, inline) = (Threads::default(), Threads::default());
        let callbacks = rt.callbacks()
            .with_handler(on_thread(&off_loop))
            .with_handler_options(on_thread(&off_loop), Pipelined::new(4))
            .with_handler_options(on_thread(&off_loop), Background::new(4))
            .with_handler_options(on_thread(&inline), Awaited::new().inline());
        let here = thread::current().id();
        // Not on a task: the body itself never moves to another thread.
        streamed(callbacks.clone(), "run".into(), 3).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(off_loop.lock().unwrap().len(), 15);
        assert!(off_loop.lock().unwrap().iter().all(|thread| *thread != here));
        assert_eq!(*inline.lock().unwrap(), [here; 5]);
    }

    /// Emitting goes on while a pipelined handler is in a call.
    async fn a_pipelined_handler_that_hangs_does_not_stop_its_emitter(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(3));
        let mut run = model(&callbacks, "run").await;
        assert_eq!(grip.entered().await, "run llm_start: prompt");
        for token in ["a", "b", "c"] {
            run.on_llm_new_token(token).await.unwrap();
        }
        drop(run);
        assert_eq!(callbacks.stats()[0].handled, 0);
        let flushed = callbacks.flush();
        drop(callbacks);
        let rest = grip.open();
        flushed.await.unwrap();
        let expected =
            ["run token: a", "run token: b", "run token: c", "run llm_error: cancelled: abc"];
        assert_eq!(rest.await, expected);
    }

    /// Its state may have work to do in `Drop`, such as the flush of a `BufWriter`.
    async fn a_sync_handlers_state_is_dropped_off_the_loop(rt: with_blocking_threads) {
        let here = thread::current().id();
        let deliveries: [HandlerOptions; 3] = [
            HandlerOptions::new(), Pipelined::new(2).into(), Background::new(2).into(),
        ];
        for options in deliveries {
            // Once with a call before that, and once without any.
            for tokens in [None, Some(2)] {
                let (told, dropped_on) = oneshot::channel();
                let handler = DroppedOn(Some(told));
                let callbacks = rt.callbacks().with_handler_options(handler, options.clone());
                if let Some(tokens) = tokens {
                    streamed(callbacks.clone(), "run".into(), tokens).await.unwrap();
                    callbacks.flush().await.unwrap();
                }
                drop(callbacks);
                assert_ne!(dropped_on.await.unwrap(), here);
            }
        }
    }

    /// Each token is handled in the poll that it is emitted in. Another task of the loop gets its
    /// turn all the same.
    async fn an_emitter_that_is_always_ready_leaves_the_loop_to_other_tasks(rt) {
        let ready = async_handler_fn(async |_: &Event, _: &EventContext| Ok(()));
        let callbacks = rt.callbacks().with_async_handler(ready);
        let (ticker, turns, stop) = ticker(&rt);
        while turns.load(Ordering::Relaxed) == 0 {
            yield_now().await;
        }
        let before = turns.load(Ordering::Relaxed);
        let mut run = model(&callbacks, "run").await;
        for _ in 0..TOKENS {
            run.on_llm_new_token("a").await.unwrap();
        }
        let during = turns.load(Ordering::Relaxed) - before;
        stop.store(true, Ordering::Release);
        ticker.await;
        run.end("end").await.unwrap();
        assert!(during >= 20, "{during} turns while {TOKENS} tokens were emitted");
    }

    /// The same for tokens that are queued: the handler in the background gets its turn.
    async fn an_emitter_that_is_always_ready_leaves_the_loop_to_queued_handlers(rt) {
        let ready = async_handler_fn(async |_: &Event, _: &EventContext| Ok(()));
        let options = Background::new(1_024).overflow(Overflow::DropOldest);
        let callbacks = rt.callbacks().with_async_handler_options(ready, options);
        let mut run = model(&callbacks, "run").await;
        for _ in 0..TOKENS {
            run.on_llm_new_token("a").await.unwrap();
        }
        let handled = callbacks.stats()[0].handled;
        assert!(handled >= 1_000, "{handled} handled while {TOKENS} tokens were emitted");
        run.end("end").await.unwrap();
        callbacks.flush().await.unwrap();
        let stats = &callbacks.stats()[0];
        assert_eq!(stats.handled + stats.dropped, TOKENS + 2);
    }
}
