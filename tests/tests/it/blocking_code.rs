//! `manager.blocking()`: the same events from code without a runtime.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_channel::oneshot;
use rappel_core::prelude::*;
use rappel_core::{EmitError, Timer};
use rappel_tests::on_every_runtime;
use rappel_tests::record::{Log, line};
use rappel_tests::runtimes::{Flavour, Rt};

/// Runs sync code on a thread of its own, while the runtime goes on.
async fn elsewhere<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, output) = oneshot::channel();
    thread::spawn(move || done.send(code()).ok());
    output.await.unwrap()
}

/// Where a handler was called.
type Threads = Arc<Mutex<Vec<ThreadId>>>;

fn note(threads: &Threads) {
    threads.lock().unwrap().push(thread::current().id());
}

fn tell<R>(callbacks: &CallbackManager<R>) -> Result<(), RunError> {
    let callbacks = callbacks.blocking();
    let chain = callbacks.on_chain_start(ChainStart::new("chain", "in"))?;
    let run = chain.child(None).on_llm_start(LlmStart::new("llm", "prompt"))?;
    run.on_llm_new_token("a")?;
    run.on_llm_new_token("b")?;
    run.end(LlmResult::from_text("ab"))?;
    chain.on_text("text")?;
    chain.end("out")?;
    callbacks.flush()?;
    Ok(())
}

const TOLD: [&str; 7] = [
    "chain_start: \"in\"",
    "llm_start: prompt",
    "token: a",
    "token: b",
    "llm_end: ab",
    "text: text",
    "chain_end: \"out\"",
];

/// An async handler that needs its runtime's timer.
struct Sleeper(Rt, Log, Threads);

impl AsyncCallbackHandler for Sleeper {
    fn on_event<'a>(&'a self, event: &'a Event, _run: &'a RunInfo) -> rappel_core::HandlerFuture<'a> {
        rappel_core::HandlerFuture::new(async move {
            self.0.sleep(Duration::from_micros(10)).await;
            note(&self.2);
            self.1.write(line(event));
            Ok(())
        })
    }
}

on_every_runtime! {
    async fn sync_handlers_are_called_at_once_on_the_callers_thread(rt) {
        let (log, threads) = (Log::new(), Threads::default());
        let seen = threads.clone();
        let callbacks = rt.callbacks().with_handler(log.handler()).with_handler(handler_fn(move |_, _| {
            note(&seen);
            Ok(())
        }));
        let caller = elsewhere(move || {
            tell(&callbacks).unwrap();
            thread::current().id()
        });
        let caller = caller.await;
        assert_eq!(log.lines(), TOLD);
        assert_eq!(*threads.lock().unwrap(), [caller; TOLD.len()]);
    }

    async fn async_handlers_are_polled_by_the_runtime(rt) {
        let (log, threads) = (Log::new(), Threads::default());
        let sleeper = Sleeper(rt.clone(), log.clone(), threads.clone());
        let callbacks = rt.callbacks().with_async_handler(sleeper).with_handler(log.handler());
        let caller = elsewhere(move || {
            tell(&callbacks).unwrap();
            thread::current().id()
        });
        let caller = caller.await;
        let (mut once, mut twice) = (log.lines(), TOLD.iter().flat_map(|line| [line; 2]).collect::<Vec<_>>());
        once.sort();
        twice.sort();
        assert_eq!(once, twice.into_iter().copied().collect::<Vec<_>>());
        assert!(!threads.lock().unwrap().contains(&caller));
    }

    async fn a_run_that_is_dropped_is_cancelled(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let manager = callbacks.clone();
        elsewhere(move || {
            let run = manager.blocking().on_llm_start(LlmStart::new("llm", "prompt")).unwrap();
            run.on_llm_new_token("a").unwrap();
        })
        .await;
        callbacks.flush().await;
        assert_eq!(log.lines(), ["llm_start: prompt", "token: a", "llm_error: cancelled: a"]);
    }

    /// What a handler raises comes back, as it does from the futures.
    async fn a_handler_may_stop_the_run(rt) {
        let log = Log::new();
        let stops = handler_fn(|event, _| match event {
            Event::LlmNewToken(_) => Err(HandlerError::new("enough")),
            _ => Ok(()),
        });
        let callbacks = rt.callbacks().with_handler_options(stops, HandlerOptions::new().raise_error(true)).with_handler(log.handler());
        let callbacks = callbacks.on_handler_failure(|_| ());
        let manager = callbacks.clone();
        elsewhere(move || {
            let run = manager.blocking().on_llm_start(LlmStart::new("llm", "prompt")).unwrap();
            assert!(matches!(run.on_llm_new_token("a"), Err(EmitError::Raised(_))));
        })
        .await;
        callbacks.flush().await;
        let lines = log.lines();
        assert_eq!(lines[..2], ["llm_start: prompt", "token: a"]);
        assert!(lines[2].starts_with("llm_error: stopped"), "{lines:?}");
    }

    async fn on_a_thread_that_polls_tasks_it_is_an_error(rt) {
        // Of these nothing can be told.
        if matches!(rt.flavour(), Flavour::SmolOwn | Flavour::FuturesPool) {
            return;
        }
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let manager = callbacks.clone();
        rt.go(async move {
            let callbacks = manager.blocking();
            let error = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).unwrap_err();
            assert!(matches!(error.error(), EmitError::WouldBlock));
            // It has not happened, and does not go on.
            assert!(matches!(error.into_run().on_llm_new_token("a"), Err(EmitError::WouldBlock | EmitError::RunClosed)));
            assert!(matches!(callbacks.flush(), Err(EmitError::WouldBlock)));
        })
        .await;
        callbacks.flush().await;
        assert!(log.lines().is_empty());
    }

    async fn inside_an_async_handler_it_is_an_error(rt) {
        let log = Log::new();
        let inner = rt.callbacks().with_handler(log.handler()).blocking();
        let refused = Arc::new(Mutex::new(0));
        let counted = refused.clone();
        struct Emits(rappel_core::Blocking<CallbackManager>, Arc<Mutex<usize>>);
        impl AsyncCallbackHandler for Emits {
            async fn on_llm_start(&self, _start: &LlmStart, _run: &RunInfo) -> HandlerResult {
                let error = self.0.on_llm_start(LlmStart::new("inner", "prompt")).unwrap_err();
                assert!(matches!(error.error(), EmitError::WouldBlock));
                *self.1.lock().unwrap() += 1;
                Ok(())
            }
        }
        let callbacks = rt.callbacks().with_async_handler(Emits(inner, counted));
        let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
        run.end(LlmResult::new()).await.unwrap();
        assert_eq!(*refused.lock().unwrap(), 1);
        assert!(log.lines().is_empty());
    }

    /// A sync handler has a thread to itself, and may block it: also where it is called on the thread of somebody who blocks.
    async fn inside_a_sync_handler_it_works(rt: with_blocking_threads) {
        let log = Log::new();
        let inner = rt.callbacks().with_handler(log.handler());
        let emits = handler_fn(move |event, _| {
            if let Event::LlmNewToken(_) = event {
                tell(&inner)?;
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(emits);
        let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
        run.on_llm_new_token("a").await.unwrap();
        assert_eq!(log.lines(), TOLD);
        elsewhere(move || {
            let run = callbacks.blocking().on_llm_start(LlmStart::new("llm", "prompt")).unwrap();
            run.on_llm_new_token("a").unwrap();
            run.end(LlmResult::new()).unwrap();
        })
        .await;
        assert_eq!(log.lines()[TOLD.len()..], TOLD);
        run.end(LlmResult::new()).await.unwrap();
    }

    async fn what_nobody_hears_asks_for_nothing(rt) {
        let manager = rt.callbacks();
        rt.go(async move { tell_unheard(&manager) }).await.unwrap();
    }
}

fn tell_unheard(callbacks: &CallbackManager) -> Result<(), RunError> {
    let run = callbacks.blocking().on_llm_start(LlmStart::new("llm", "prompt"))?;
    run.on_llm_new_token("a")?;
    run.end(LlmResult::from_text("a"))?;
    Ok(())
}
