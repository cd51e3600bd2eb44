//! A run has one event in flight. An event whose emit was dropped or forgotten is finished before
//! the next event of its run.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_lite::future::{block_on, poll_once, yield_now};
use rappel_core::json;
use rappel_core::prelude::*;
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

/// The waker of a runtime that is broken.
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

/// Takes more than one poll for each event.
fn yields() -> impl AsyncCallbackHandler {
    async_handler_fn(async |_, _| {
        yield_now().await;
        Ok(())
    })
}

async fn chain(callbacks: &CallbackManager) -> ChainRun {
    callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap()
}

on_every_runtime! {
    async fn an_event_whose_emit_was_dropped_is_finished_before_the_next(rt) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_async_handler(yields())
            .with_handler(log.handler());
        let mut chain = chain(&callbacks).await;
        assert!(poll_once(chain.on_text("first")).await.is_none());
        chain.on_text("second").await.unwrap();
        assert_eq!(
            log.lines(),
            ["chain_start: 0", "text: first", "text: second"]
        );
        chain.end(json!(1)).await.unwrap();
    }

    async fn an_event_whose_emit_was_forgotten_is_finished_before_the_next(rt) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_async_handler(yields())
            .with_handler(log.handler());
        let mut chain = chain(&callbacks).await;
        let mut first = chain.on_text("first");
        assert!(poll_once(&mut first).await.is_none());
        std::mem::forget(first);
        chain.on_text("second").await.unwrap();
        assert_eq!(
            log.lines(),
            ["chain_start: 0", "text: first", "text: second"]
        );
        chain.end(json!(1)).await.unwrap();
    }

    async fn an_emit_that_is_dropped_before_its_first_poll_emits_nothing(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let mut chain = chain(&callbacks).await;
        drop(chain.on_text("never"));
        chain.on_text("text").await.unwrap();
        chain.end(json!(1)).await.unwrap();
        assert_eq!(
            log.lines(),
            ["chain_start: 0", "text: text", "chain_end: 1"]
        );
    }

    /// `start_send` and `poll_flush` are the same emit without a future.
    async fn an_event_that_is_sent_is_handled_when_the_run_is_flushed(rt) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_async_handler(yields())
            .with_handler(log.handler());
        let mut chain = chain(&callbacks).await;
        for text in ["first", "second"] {
            chain.start_send(Text::new(text));
            poll_fn(|cx| chain.poll_flush(cx)).await.unwrap();
        }
        poll_fn(|cx| chain.poll_flush(cx)).await.unwrap();
        assert_eq!(
            log.lines(),
            ["chain_start: 0", "text: first", "text: second"]
        );
        chain.end(json!(1)).await.unwrap();
    }

    async fn an_event_that_was_sent_and_not_flushed_comes_before_the_next(rt) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_async_handler(yields())
            .with_handler(log.handler());
        let mut chain = chain(&callbacks).await;
        chain.start_send(Text::new("first"));
        chain.start_send(Text::new("second"));
        chain.on_text("third").await.unwrap();
        assert_eq!(
            log.lines(),
            ["chain_start: 0", "text: first", "text: second", "text: third"]
        );
        std::mem::forget(chain.on_text("leaked before its first poll"));
        chain.on_text("fourth").await.unwrap();
        assert_eq!(log.lines()[4..], ["text: fourth"]);
        chain.start_send(Text::new("not polled"));
        chain.end(json!(1)).await.unwrap();
        assert_eq!(log.lines()[5..], ["chain_end: 1"]);
    }

    /// The children of one run emit from threads of their own: nothing is lost, and each child's
    /// own order is kept.
    async fn events_of_siblings_from_many_threads_keep_the_order_of_each_run(rt) {
        const THREADS: usize = 4;
        const EACH: usize = 500;
        let (first, second) = (Log::new(), Log::new());
        let callbacks = rt
            .callbacks()
            .with_async_handler(first.async_handler())
            .with_async_handler(second.async_handler());
        let parent = chain(&callbacks).await;
        let mut children = Vec::new();
        for _ in 0..THREADS {
            children.push(chain(&parent.child()).await);
        }
        std::thread::scope(|scope| {
            for (thread, child) in children.iter_mut().enumerate() {
                scope.spawn(move || {
                    for number in 0..EACH {
                        block_on(child.on_text(format!("{thread} {number:03}"))).unwrap();
                    }
                });
            }
        });
        for child in children {
            child.end(json!(1)).await.unwrap();
        }
        parent.end(json!(1)).await.unwrap();
        for log in [first, second] {
            let lines = log.lines();
            assert_eq!(lines.len(), THREADS * EACH + 2 * THREADS + 2);
            for thread in 0..THREADS {
                let own = format!("text: {thread} ");
                let own: Vec<&String> =
                    lines.iter().filter(|line| line.starts_with(&own)).collect();
                assert!(own.len() == EACH && own.is_sorted(), "thread {thread}");
            }
        }
    }

    async fn a_waker_that_panics_keeps_no_other_flush_waiting(rt) {
        let (gate, opens) = futures_channel::oneshot::channel::<()>();
        let opens = futures_util::FutureExt::shared(opens);
        let waits = async_handler_fn(async move |event, _| {
            if let Event::Text(_) = event {
                let _ = opens.clone().await;
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_async_handler(waits);
        let mut chain = chain(&callbacks).await;
        let mut text = Box::pin(chain.on_text("text"));
        assert!(poll_once(&mut text).await.is_none());
        let (mut first, mut second) = (callbacks.flush(), callbacks.flush());
        let woken = Arc::new(Woken::default());
        let breaks = Waker::from(Arc::new(Breaks));
        assert!(
            Pin::new(&mut first)
                .poll(&mut Context::from_waker(&breaks))
                .is_pending()
        );
        let waker = Waker::from(woken.clone());
        assert!(
            Pin::new(&mut second)
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(gate);
        text.await.unwrap();
        while !woken.0.load(Ordering::SeqCst) {
            yield_now().await;
        }
        first.await.unwrap();
        second.await.unwrap();
        chain.end(json!(1)).await.unwrap();
    }

    /// The parent's end comes while another thread polls the child's event, and is woken once the
    /// child is closed.
    async fn a_parent_that_ends_during_a_poll_of_its_child_is_woken(rt) {
        /// Runs inside the handler's first poll, after that poll's waker was woken.
        type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;
        let meanwhile = Meanwhile::default();
        let runs = meanwhile.clone();
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_async_handler(async_handler_fn(async move |event, _| {
                let mut first = matches!(event, Event::Text(_));
                poll_fn(|cx| {
                    if !std::mem::take(&mut first) {
                        return Poll::Ready(());
                    }
                    cx.waker().wake_by_ref();
                    if let Some(run) = runs.lock().unwrap().take() {
                        run();
                    }
                    Poll::Pending
                })
                .await;
                Ok(())
            }))
            .with_async_handler(log.async_handler());
        let parent = chain(&callbacks).await;
        let mut child = chain(&parent.child()).await;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let (done, kept) = std::sync::mpsc::channel();
        *meanwhile.lock().unwrap() = Some(Box::new(move || {
            let ends = std::thread::spawn(move || {
                let mut end = parent.end(json!(1));
                let polled = Pin::new(&mut end).poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
                done.send(end).unwrap();
            });
            ends.join().unwrap();
        }));
        child.on_text("text").await.unwrap();
        while !woken.0.load(Ordering::SeqCst) {
            yield_now().await;
        }
        kept.recv().unwrap().await.unwrap();
        assert!(matches!(
            child.on_text("late").await,
            Err(EmitError::RunClosed)
        ));
        assert_eq!(
            log.lines()[2..],
            ["text: text", "chain_error: cancelled", "chain_end: 1"]
        );
    }

    async fn a_raised_failure_reaches_its_own_emitter(rt) {
        let picky = async_handler_fn(async |event, _| {
            yield_now().await;
            match event {
                Event::Text(text) if text.text == "bad" => Err("bad".into()),
                _ => Ok(()),
            }
        });
        let callbacks = rt
            .callbacks()
            .on_handler_failure(|_| {})
            .with_async_handler_options(picky, Awaited::new().raise_error());
        let mut chain = chain(&callbacks).await;
        for _ in 0..10 {
            assert!(matches!(
                chain.on_text("bad").await,
                Err(EmitError::Raised(_))
            ));
            chain.on_text("good").await.unwrap();
        }
        // The failure of an emit that was dropped is no other emit's.
        assert!(poll_once(chain.on_text("bad")).await.is_none());
        chain.on_text("good").await.unwrap();
        chain.end(json!(1)).await.unwrap();
    }
}
