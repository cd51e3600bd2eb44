//! Panics in the `Drop` of handlers, of their futures, and of wakers.

use std::future::poll_fn;
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
struct Breaks(Arc<AtomicUsize>);

impl Wake for Breaks {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("the task broke");
    }
}

on_every_runtime! {
    /// A handler that has answered has handled the event, whatever its future does in `Drop`; and
    /// those after it are called all the same.
    async fn a_handlers_future_may_panic_when_it_is_dropped(rt) {
        let log = Log::new();
        let (callbacks, failures) = reporting(rt.callbacks());
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
    }

    /// A run that is dropped takes an async handler with it, in the middle of another handler's
    /// queue.
    async fn an_async_handlers_state_may_panic_when_it_is_dropped(rt: with_blocking_threads) {
        let ((handler, mut grip), log) = (held(), Log::new());
        let (callbacks, failures) = reporting(rt.callbacks());
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
            let log = Log::new();
            let all = rt.callbacks().with_handler(sync(log.clone()));
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
        }
    }

    /// A panic's payload may be anything, and may panic when it is dropped in turn.
    async fn a_panics_payload_may_panic_when_it_is_dropped(rt) {
        let (callbacks, failures) = reporting(rt.callbacks());
        let log = Log::new();
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
    }

    /// The emitter's waker panics on the thread of a sync handler that has answered.
    async fn a_waker_that_panics_harms_no_lane(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(handler).with_handler(sync(log.clone()));
        let broken = Arc::new(AtomicUsize::new(0));
        let waker = Waker::from(Arc::new(Breaks(broken.clone())));
        let mut start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
        let first = Pin::new(&mut start).poll(&mut Context::from_waker(&waker));
        assert!(first.is_pending());
        assert_eq!(grip.entered().await, "run chain_start: 0");
        drop(grip);
        while broken.load(Ordering::SeqCst) == 0 {
            yield_now().await;
        }
        let run = start.await.unwrap();
        run.end(json!(1)).await.unwrap();
        streamed(callbacks.clone(), "next".into(), 1).await.unwrap();
        assert_eq!(log.lines().len(), 5);
        let stats = callbacks.stats();
        assert!(stats.iter().all(|stats| (stats.handled, stats.failed) == (5, 0)), "{stats:?}");
    }

    /// The flush of one task is woken although the waker of another one panics.
    async fn a_waker_that_panics_does_not_keep_another_flush_waiting(rt) {
        let (waits, gate) = gated(|event| matches!(event, Event::ChainStart(_)));
        let callbacks = rt.callbacks().with_async_handler_options(waits, Background::new(4));
        let run = chain(&callbacks, "run").await;
        let broken = Arc::new(AtomicUsize::new(0));
        let waker = Waker::from(Arc::new(Breaks(broken.clone())));
        let (mut first, mut second) = (callbacks.flush(), callbacks.flush());
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(poll_once(&mut second).await.is_none());
        let (done, is_done) = oneshot::channel();
        let flushed = rt.go(async move {
            second.await.unwrap();
            let _ = done.send(());
        });
        drop(gate);
        is_done.await.unwrap();
        flushed.await;
        while broken.load(Ordering::SeqCst) == 0 {
            yield_now().await;
        }
        first.await.unwrap();
        run.end(json!(1)).await.unwrap();
    }
}
