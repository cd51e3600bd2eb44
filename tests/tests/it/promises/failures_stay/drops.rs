//! Panics in the `Drop` of handlers, of their futures, and of wakers.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_channel::oneshot;
use rappel_core::HandlerFuture;
use rappel_tests::held::held;

use super::*;

/// Panics when it is dropped.
#[derive(Debug)]
pub(super) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

/// Its futures are ready at once, and panic when they are dropped. For some events it panics
/// before that.
struct Explosive(fn(&Event) -> bool);

impl AsyncCallbackHandler for Explosive {
    fn on_event<'a>(&'a self, event: &'a Event, _: &'a EventContext) -> HandlerFuture<'a> {
        assert!(!(self.0)(event), "called");
        let bomb = Bomb;
        HandlerFuture::new(poll_fn(move |_| {
            let _ = &bomb;
            Poll::Ready(Ok(()))
        }))
    }
}

/// A waker that panics when it is used, and counts that.
#[derive(Default)]
struct Breaks(AtomicUsize);

impl Wake for Breaks {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("the task broke");
    }
}

impl Breaks {
    /// Waits until the waker has been used.
    async fn wait(&self) {
        while self.0.load(Ordering::SeqCst) == 0 {
            yield_now().await;
        }
    }
}

fn breaks() -> (Waker, Arc<Breaks>) {
    let broken = Arc::new(Breaks::default());
    (Waker::from(broken.clone()), broken)
}

fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

on_every_runtime! {
    /// A handler that has answered has handled the event, whatever its future does in `Drop`; and
    /// those after it are called all the same.
    async fn a_handlers_future_may_panic_when_it_is_dropped(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let (callbacks, failures) = reporting(stage.callbacks());
        let callbacks = callbacks
            .with_async_handler(Explosive(|_| false))
            .with_async_handler(Explosive(|event| matches!(event, Event::Text(_))))
            .with_async_handler_options(Explosive(|_| false), Pipelined::new(4))
            .with_async_handler_options(Explosive(|_| false), HandlerOptions::new().on_runtime())
            .with_async_handler(asynchronous(log.clone()));
        let mut run = chain(&callbacks, "run").await;
        for text in ["a", "b"] {
            run.on_text(text).await.unwrap();
        }
        run.end(json!(1)).await.unwrap();
        assert_eq!(log.lines().len(), 4);
        assert_eq!(causes(&failures), ["on_text: panicked: called", "on_text: panicked: called"]);
        let counts: Vec<_> =
            callbacks.stats().iter().map(|stats| (stats.handled, stats.failed)).collect();
        assert_eq!(counts, [(4, 0), (2, 2), (4, 0), (4, 0), (4, 0)]);
        stage.assert_no_panics().await;
    }

    /// A run that is dropped takes an async handler with it, in the middle of another handler's
    /// queue.
    async fn an_async_handlers_state_may_panic_when_it_is_dropped(rt: with_blocking_threads) {
        let ((handler, mut grip), log, stage) = (held(), Log::new(), Stage::new(&rt));
        let (callbacks, failures) = reporting(stage.callbacks());
        let members: Vec<BoxHandler> = vec![Box::new(handler), Box::new(sync(log.clone()))];
        let all = callbacks.with_handler_options(members, Background::new(8).open_traces(8));
        let bomb = Arc::new(Bomb);
        let explodes = async_handler_fn(move |_: &Event, _: &EventContext| {
            let _ = &bomb;
            async { Ok(()) }
        });
        let short_lived = all.clone().with_async_handler(explodes);
        let run = chain(&short_lived, "first").await;
        drop(short_lived);
        run.end(json!(1)).await.unwrap();
        let run = chain(&all, "second").await;
        run.end(json!(1)).await.unwrap();
        assert_eq!(grip.entered().await, "first chain_start: 0");
        drop(grip);
        all.flush().await.unwrap();
        assert_eq!(causes(&failures), NO_FAILURES);
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, [
            "first: chain_end: 1", "first: chain_start: 0",
            "second: chain_end: 1", "second: chain_start: 0",
        ]);
        stage.assert_no_panics().await;
    }

    /// The last manager of a handler is dropped by the application, which is not to blame.
    async fn a_sync_handlers_state_may_panic_when_it_is_dropped(rt) {
        let deliveries: [HandlerOptions; 4] = [
            HandlerOptions::new(),
            Awaited::new().inline().into(),
            Pipelined::new(4).into(),
            Background::new(4).into(),
        ];
        for options in deliveries {
            let (stage, log) = (Stage::new(&rt), Log::new());
            let all = stage.callbacks().with_handler(sync(log.clone()));
            let bomb = Bomb;
            let explodes = handler_fn(move |_, _| {
                let _ = &bomb;
                Ok(())
            });
            let short_lived = all.clone().with_handler_options(explodes, options);
            streamed(short_lived, "first".into(), 2).await.unwrap();
            streamed(all.clone(), "second".into(), 2).await.unwrap();
            all.flush().await.unwrap();
            assert_eq!(log.lines().len(), 8);
            stage.assert_no_panics().await;
        }
    }

    /// The state is dropped in a job, on a thread that others need after it.
    async fn a_sync_handlers_state_that_panics_does_not_end_the_only_blocking_thread(rt) {
        let (stage, log) = (Stage::with_one_blocking_thread(&rt), Log::new());
        let (callbacks, failures) = reporting(stage.callbacks());
        let all = callbacks.with_handler(sync(log.clone()));
        let (told, dropped) = oneshot::channel::<()>();
        let state = (told, Bomb);
        let explodes = handler_fn(move |_: &Event, _: &EventContext| {
            let _ = &state;
            Ok(())
        });
        let short_lived = all.clone().with_handler(explodes);
        streamed(short_lived, "first".into(), 2).await.unwrap();
        assert!(dropped.await.is_err());
        streamed(all.clone(), "second".into(), 2).await.unwrap();
        assert_eq!(causes(&failures), NO_FAILURES);
        assert_eq!(log.lines().len(), 8);
        stage.assert_no_panics().await;
    }

    /// A panic's payload may be anything, and may panic when it is dropped in turn.
    async fn a_panics_payload_may_panic_when_it_is_dropped(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let (callbacks, failures) = reporting(stage.callbacks());
        let panics = || handler_fn(|event: &Event, _: &EventContext| match event {
            Event::LlmNewToken(_) => std::panic::panic_any(Bomb),
            _ => Ok(()),
        });
        let panics_async = || async_handler_fn(async |event: &Event, _: &EventContext| {
            if matches!(event, Event::LlmNewToken(_)) {
                std::panic::panic_any(Bomb);
            }
            Ok(())
        });
        let callbacks = callbacks
            .with_handler(panics())
            .with_handler_options(panics(), Awaited::new().inline())
            .with_handler_options(panics(), Background::new(4))
            .with_async_handler(panics_async())
            .with_async_handler_options(panics_async(), Pipelined::new(4))
            .with_handler(sync(log.clone()))
            .with_async_handler(asynchronous(log.clone()));
        streamed(callbacks.clone(), "first".into(), 1).await.unwrap();
        streamed(callbacks.clone(), "second".into(), 1).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(failures.lock().unwrap().len(), 10);
        for stats in &callbacks.stats()[..5] {
            assert_eq!((stats.handled, stats.failed, stats.pending), (4, 2, 0), "{stats:?}");
        }
        assert_eq!(log.lines().len(), 2 * 2 * 3);
        stage.assert_no_panics().await;
    }

    /// The emitter's waker panics on the thread of a sync handler that has answered, while an event
    /// of another run waits for that handler.
    async fn a_waker_that_panics_harms_no_lane(rt: with_blocking_threads) {
        let ((handler, mut grip), stage) = (held(), Stage::new(&rt));
        let log = Log::new();
        let callbacks = stage.callbacks().with_handler(handler).with_handler(sync(log.clone()));
        let (waker, broken) = breaks();
        let mut start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
        assert!(poll_with(&mut start, &waker).is_pending());
        assert_eq!(grip.entered().await, "run chain_start: 0");
        let mut other = callbacks.on_chain_start(ChainStart::new("other", json!(0)));
        assert!(poll_once(&mut other).await.is_none());
        drop(grip);
        broken.wait().await;
        for run in [start.await.unwrap(), other.await.unwrap()] {
            run.end(json!(1)).await.unwrap();
        }
        streamed(callbacks.clone(), "next".into(), 1).await.unwrap();
        assert_eq!(log.lines().len(), 7);
        let stats = callbacks.stats();
        assert!(stats.iter().all(|stats| (stats.handled, stats.failed) == (7, 0)), "{stats:?}");
        stage.assert_no_panics().await;
    }

    /// The flush of one task is woken although the waker of another one panics.
    async fn a_waker_that_panics_does_not_keep_another_flush_waiting(rt) {
        let stage = Stage::new(&rt);
        let (waits, gate) = gated(|event| matches!(event, Event::ChainStart(_)));
        let callbacks = stage.callbacks().with_async_handler_options(waits, Background::new(4));
        let run = chain(&callbacks, "run").await;
        let (waker, broken) = breaks();
        let (mut first, mut second) = (callbacks.flush(), callbacks.flush());
        assert!(poll_with(&mut first, &waker).is_pending());
        assert!(poll_once(&mut second).await.is_none());
        let (done, is_done) = oneshot::channel();
        let flushed = rt.go(async move {
            second.await.unwrap();
            let _ = done.send(());
        });
        drop(gate);
        is_done.await.unwrap();
        flushed.await;
        broken.wait().await;
        first.await.unwrap();
        run.end(json!(1)).await.unwrap();
        stage.assert_no_panics().await;
    }

    /// A task waits until a run is closed, and its waker panics. The run's parent closes the run,
    /// and its own end is delivered.
    async fn a_waker_that_panics_does_not_keep_a_run_from_being_closed(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let callbacks = stage.callbacks().with_async_handler(asynchronous(log.clone()));
        let parent = chain(&callbacks, "parent").await;
        let child = chain(&parent.child(), "child").await;
        let (waker, broken) = breaks();
        let mut closed = Box::pin(child.until_closed(pending::<()>()));
        assert!(poll_with(&mut closed, &waker).is_pending());
        parent.end(json!(1)).await.unwrap();
        broken.wait().await;
        assert!(matches!(closed.await, Err(RunError::Cancelled)));
        let lines = ["child: chain_error: cancelled", "parent: chain_end: 1"];
        assert_eq!(log.lines()[2..], lines);
        stage.assert_no_panics().await;
    }

    /// One shutdown waits for the last run with a waker that panics, and another one with a sound
    /// waker.
    async fn a_waker_that_panics_does_not_keep_a_shutdown_waiting(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let callbacks = stage.callbacks().with_async_handler(asynchronous(log.clone()));
        let run = chain(&callbacks, "run").await;
        let (waker, broken) = breaks();
        let (mut first, mut second) = (callbacks.shutdown(LONG), callbacks.shutdown(LONG));
        assert!(poll_with(&mut first, &waker).is_pending());
        assert!(poll_once(&mut second).await.is_none());
        run.end(json!(1)).await.unwrap();
        broken.wait().await;
        assert_eq!(second.await.unwrap().closed_runs, 0);
        assert_eq!(first.await.unwrap().closed_runs, 0);
        assert_eq!(log.lines().len(), 2);
        stage.assert_no_panics().await;
    }

    /// An emitter waits with a waker that panics for an event that a task of the runtime drives,
    /// because its emitter was dropped. That task goes on.
    async fn a_waker_that_panics_does_not_harm_what_drives_the_run(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let (waits, gate) = gated(|event| matches!(event, Event::Text(text) if text.text == "a"));
        let callbacks = stage.callbacks().with_async_handler(waits);
        let callbacks = callbacks.with_async_handler(asynchronous(log.clone()));
        let mut run = chain(&callbacks, "run").await;
        assert!(poll_once(run.on_text("a")).await.is_none());
        let (waker, broken) = breaks();
        let mut emit = run.on_text("b");
        assert!(poll_with(&mut emit, &waker).is_pending());
        drop(gate);
        broken.wait().await;
        emit.await.unwrap();
        run.end(json!(1)).await.unwrap();
        assert_eq!(log.lines(), [
            "run: chain_start: 0", "run: text: a", "run: text: b", "run: chain_end: 1",
        ]);
        stage.assert_no_panics().await;
    }
    /// A handler ends the run whose event it handles, with a waker that panics. It is woken by what
    /// polls the handler, a task of the runtime.
    async fn a_waker_that_panics_in_a_call_does_not_harm_the_poll_around_it(rt) {
        let (stage, log) = (Stage::new(&rt), Log::new());
        let (gives, takes) = oneshot::channel::<ChainRun>();
        let takes = Arc::new(Mutex::new(Some(takes)));
        let ends = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if let Event::Text(_) = event {
                let takes = takes.lock().unwrap().take().unwrap();
                let mut end = takes.await.unwrap().end(json!(1));
                assert!(matches!(poll_with(&mut end, &breaks().0), Poll::Ready(Ok(()))));
                // The poll around this one is over, and the event is not handled.
                yield_now().await;
            }
            Ok(())
        });
        let callbacks = stage.callbacks().with_async_handler(ends);
        let callbacks = callbacks.with_async_handler(asynchronous(log.clone()));
        let mut run = chain(&callbacks, "run").await;
        assert!(poll_once(run.on_text("a")).await.is_none());
        gives.send(run).unwrap();
        settled(&callbacks).await;
        assert_eq!(log.lines(), ["run: chain_start: 0", "run: text: a", "run: chain_end: 1"]);
        stage.assert_no_panics().await;
    }
}
