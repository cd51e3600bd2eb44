//! Events of one run that are emitted at the same time take turns: all handlers see them in one order, and none is lost.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::{join, join_all};
use rappel_core::json;
use rappel_core::prelude::*;
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

/// A task of a runtime that breaks.
struct Breaks;

impl Wake for Breaks {
    fn wake(self: Arc<Self>) {
        panic!("the runtime broke");
    }
}

/// Whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

on_every_runtime! {
    /// Who waits beside it is woken all the same, and whoever woke it hears nothing of it.
    async fn beside_a_waker_that_panics(rt) {
        let (gate, opens) = futures_channel::oneshot::channel::<()>();
        let opens = futures_util::FutureExt::shared(opens);
        let waits = async_handler_fn(move |event, _| {
            let opens = matches!(event, Event::Text(_)).then(|| opens.clone());
            async move {
                if let Some(opens) = opens {
                    let _ = opens.await;
                }
                Ok(())
            }
        });
        let log = Log::new();
        let callbacks = rt.callbacks().with_async_handler(waits).with_handler(log.handler());
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let (mut first, mut second) = (Box::pin(chain.on_text("first")), Box::pin(chain.on_text("second")));
        let woken = Arc::new(Woken::default());
        assert!(first.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(Breaks)))).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending());
        drop(gate);
        assert!(woken.0.load(Ordering::SeqCst));
        first.await.unwrap();
        second.await.unwrap();
        chain.end(json!(1)).await.unwrap();
        assert_eq!(log.lines(), ["chain_start: 0", "text: first", "text: second", "chain_end: 1"]);
    }

    async fn are_seen_in_one_order_by_all(rt) {
        let (first, second) = (Log::new(), Log::new());
        let yields = async_handler_fn(|_, _| async {
            futures_lite::future::yield_now().await;
            Ok(())
        });
        let callbacks = rt.callbacks()
            .with_handler(first.handler())
            .with_async_handler(yields)
            .with_async_handler(second.async_handler());
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let texts = (0..20).map(|number| chain.on_text(number.to_string()));
        assert!(join_all(texts).await.iter().all(Result::is_ok));
        chain.end(json!(1)).await.unwrap();
        assert_eq!(first.lines(), second.lines());
        let mut sorted = first.lines();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 22);
    }

    /// Also from threads that emit at the very same time: nothing is lost, and each thread's own order is kept.
    async fn are_seen_in_one_order_from_many_threads(rt) {
        const THREADS: usize = 4;
        const EACH: usize = 500;
        let (first, second) = (Log::new(), Log::new());
        let callbacks = rt.callbacks().with_async_handler(first.async_handler()).with_async_handler(second.async_handler());
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let chain = &chain;
                scope.spawn(move || {
                    for number in 0..EACH {
                        futures_lite::future::block_on(chain.on_text(format!("{thread} {number:03}"))).unwrap();
                    }
                });
            }
        });
        chain.end(json!(1)).await.unwrap();
        assert_eq!(first.lines(), second.lines());
        let lines = first.lines();
        assert_eq!(lines.len(), THREADS * EACH + 2);
        for thread in 0..THREADS {
            let own: Vec<&String> = lines.iter().filter(|line| line.starts_with(&format!("text: {thread} "))).collect();
            assert!(own.len() == EACH && own.is_sorted(), "thread {thread}");
        }
    }

    /// An event that its emitter has polled once and then left alone does not hold up the next one for ever.
    async fn one_that_is_not_polled_on_is_finished_by_the_next(rt) {
        let log = Log::new();
        let yields = async_handler_fn(|_, _| async {
            futures_lite::future::yield_now().await;
            Ok(())
        });
        let callbacks = rt.callbacks().with_async_handler(yields).with_handler(log.handler());
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let mut first = chain.on_text("first");
        assert!(futures_lite::future::poll_once(&mut first).await.is_none());
        chain.on_text("second").await.unwrap();
        assert_eq!(log.lines(), ["chain_start: 0", "text: first", "text: second"]);
        // Its own outcome is still there for its emitter.
        first.await.unwrap();
        chain.end(json!(1)).await.unwrap();
    }

    /// One that comes by while another thread polls the first, after that has been woken, is woken too: the first may never be polled again.
    async fn one_that_comes_by_during_a_poll_is_woken(rt) {
        /// What happens inside the handler's first poll, after it was woken.
        type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;
        let meanwhile = Meanwhile::default();
        let runs = meanwhile.clone();
        let callbacks = rt.callbacks().with_async_handler(async_handler_fn(move |event, _| {
            let mut first = matches!(event, Event::Text(text) if text.text == "first");
            let runs = runs.clone();
            poll_fn(move |cx| {
                if !std::mem::take(&mut first) {
                    return Poll::Ready(Ok(()));
                }
                cx.waker().wake_by_ref();
                if let Some(run) = runs.lock().unwrap().take() {
                    run();
                }
                Poll::Pending
            })
        }));
        let chain = Arc::new(callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap());
        let woken = Arc::new(Woken::default());
        let (second, waker) = (chain.clone(), Waker::from(woken.clone()));
        let (done, kept) = std::sync::mpsc::channel();
        *meanwhile.lock().unwrap() = Some(Box::new(move || {
            let comes_by = std::thread::spawn(move || {
                let mut text = Box::pin(async move { second.on_text("second").await });
                assert!(text.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                done.send(text).unwrap();
            });
            comes_by.join().unwrap();
        }));
        let mut first = chain.on_text("first");
        assert!(futures_lite::future::poll_once(&mut first).await.is_none());
        // From here on the first is leaked.
        std::mem::forget(first);
        assert!(woken.0.load(Ordering::SeqCst));
        kept.recv().unwrap().await.unwrap();
        Arc::into_inner(chain).unwrap().end(json!(1)).await.unwrap();
    }

    async fn an_outcome_reaches_its_own_emitter(rt) {
        let picky = async_handler_fn(|event, _| {
            let fails = matches!(event, Event::Text(text) if text.text == "bad");
            async move {
                futures_lite::future::yield_now().await;
                if fails { Err(HandlerError::new("bad")) } else { Ok(()) }
            }
        });
        let callbacks = rt.callbacks()
            .on_handler_failure(|_| {})
            .with_async_handler_options(picky, HandlerOptions::new().raise_error(true));
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        for _ in 0..10 {
            let (good, bad) = join(chain.on_text("good"), chain.on_text("bad")).await;
            assert!(good.is_ok() && bad.is_err());
        }
        chain.end(json!(1)).await.unwrap();
    }
}
