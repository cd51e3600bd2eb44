//! `.wait()`: sync code uses the same API, and blocks its thread where the runtime allows it.

use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_channel::oneshot;
use futures_lite::future::{block_on, poll_once, yield_now};
use rappel_core::prelude::*;
use rappel_core::{BlockingExecutor, HandlerFuture, Timer, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::{Log, line};
use rappel_tests::runtimes::{Flavour, Rt};

/// Runs sync code on a thread of its own, while the runtime goes on.
async fn elsewhere<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, output) = oneshot::channel();
    thread::spawn(move || done.send(code()).ok());
    output.await.unwrap()
}

/// Runs sync code as a blocking job of the runtime.
async fn in_spawn_blocking<T: Send + 'static>(
    rt: &Rt,
    code: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, output) = oneshot::channel();
    rt.spawn_blocking(move || drop(done.send(code()))).unwrap();
    output.await.unwrap()
}

/// The threads that a handler was called on.
type ThreadIds = Arc<Mutex<Vec<ThreadId>>>;

fn note(threads: &ThreadIds) {
    threads.lock().unwrap().push(thread::current().id());
}

/// A chain with a model inside it, emitted by sync code.
fn emit(callbacks: &CallbackManager) -> Result<(), EmitError> {
    let mut chain = callbacks.on_chain_start(ChainStart::new("chain", "in")).wait()?;
    let mut run = chain.child().on_llm_start(LlmStart::new("llm", "prompt")).wait()?;
    run.on_llm_new_token("a").wait()?;
    run.on_llm_new_token("b").wait()?;
    run.end("ab").wait()?;
    chain.on_text("text").wait()?;
    chain.end("out").wait()
}

const EMITTED: [&str; 7] = [
    "chain_start: \"in\"",
    "llm_start: prompt",
    "token: a",
    "token: b",
    "llm_end: ab",
    "text: text",
    "chain_end: \"out\"",
];

/// An async handler that needs its runtime's timer.
struct Sleeper(Rt, Log, ThreadIds);

impl AsyncCallbackHandler for Sleeper {
    fn on_event<'a>(&'a self, event: &'a Event, _: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            self.0.sleep(Duration::from_micros(10)).await;
            note(&self.2);
            self.1.write(line(event));
            Ok(())
        })
    }
}

/// Whether the runtime knows that a thread polls its tasks.
fn knows_its_threads(rt: &Rt) -> bool {
    !matches!(rt.flavour(), Flavour::SmolOwn | Flavour::FuturesPool)
}

on_every_runtime! {
    async fn an_event_is_handled_when_its_wait_returns(rt) {
        let (sync, asynchronous) = (Log::new(), Log::new());
        let callbacks = rt
            .callbacks()
            .with_handler(sync.handler())
            .with_async_handler(asynchronous.async_handler());
        elsewhere(move || {
            let handled = |count| {
                assert_eq!(sync.lines(), EMITTED[1..][..count]);
                assert_eq!(asynchronous.lines(), EMITTED[1..][..count]);
            };
            let mut run = callbacks
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .wait()
                .unwrap();
            handled(1);
            run.on_llm_new_token("a").wait().unwrap();
            handled(2);
            run.on_llm_new_token("b").wait().unwrap();
            handled(3);
            run.end("ab").wait().unwrap();
            handled(4);
        })
        .await;
    }

    async fn no_handler_is_called_on_a_thread_that_waits(rt) {
        let (log, threads) = (Log::new(), ThreadIds::default());
        let sleeper = Sleeper(rt.clone(), log.clone(), threads.clone());
        let seen = threads.clone();
        let callbacks = rt
            .callbacks()
            .with_async_handler(sleeper)
            .with_handler(log.handler())
            .with_handler_options(
                handler_fn(move |_, _| {
                    note(&seen);
                    Ok(())
                }),
                Awaited::new().inline(),
            );
        let caller = elsewhere(move || {
            emit(&callbacks).unwrap();
            callbacks.flush().wait().unwrap();
            thread::current().id()
        });
        let caller = caller.await;
        let (mut lines, mut expected) = (log.lines(), [EMITTED, EMITTED].concat());
        lines.sort();
        expected.sort_unstable();
        assert_eq!(lines, expected);
        let threads = threads.lock().unwrap();
        assert!(
            threads.len() == 2 * EMITTED.len() && !threads.contains(&caller),
            "{threads:?}"
        );
    }

    async fn a_blocking_job_of_the_runtime_may_wait(rt: with_blocking_threads) {
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_handler(log.handler())
            .with_async_handler(log.async_handler());
        in_spawn_blocking(&rt, move || emit(&callbacks))
            .await
            .unwrap();
        let (mut lines, mut expected) = (log.lines(), [EMITTED, EMITTED].concat());
        lines.sort();
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }

    async fn custom_events_kept_starts_and_shutdowns_can_be_waited_for(rt) {
        let log = Log::new();
        let gate = async_handler_fn(async |event, _| match event {
            Event::ChainStart(_) => Err("not that chain".into()),
            _ => Ok(()),
        });
        let callbacks = rt
            .callbacks()
            .on_handler_failure(|_| {})
            .with_handler(log.handler())
            .with_async_handler_options(gate, Awaited::new().raise_error());
        elsewhere(move || {
            callbacks
                .on_custom_event(CustomEvent::new("mine", json!(0)))
                .wait()
                .unwrap();
            let start = callbacks.on_chain_start(ChainStart::new("chain", "in"));
            let (chain, outcome) = start.keep().wait().unwrap();
            assert!(matches!(outcome, Err(EmitError::Raised(_))));
            chain.fail("stopped").wait().unwrap();
            let report = callbacks.shutdown(Duration::from_secs(60)).wait().unwrap();
            assert_eq!((report.closed_runs, report.handlers.len()), (0, 2));
        })
        .await;
        let expected = [
            "custom_event: mine",
            "chain_start: \"in\"",
            "chain_error: failed",
        ];
        assert_eq!(log.lines(), expected);
    }

    async fn a_run_that_sync_code_drops_is_cancelled(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let manager = callbacks.clone();
        elsewhere(move || {
            let mut run = manager
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .wait()
                .unwrap();
            run.on_llm_new_token("a").wait().unwrap();
        })
        .await;
        callbacks.flush().await.unwrap();
        assert_eq!(
            log.lines(),
            ["llm_start: prompt", "token: a", "llm_error: cancelled: a"]
        );
    }

    async fn a_wait_returns_what_a_handler_raises(rt) {
        let log = Log::new();
        let stops = handler_fn(|event, _| match event {
            Event::LlmNewToken(_) => Err("enough".into()),
            _ => Ok(()),
        });
        let callbacks = rt
            .callbacks()
            .on_handler_failure(|_| ())
            .with_handler_options(stops, Awaited::new().raise_error())
            .with_handler(log.handler());
        let manager = callbacks.clone();
        elsewhere(move || {
            let mut run = manager
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .wait()
                .unwrap();
            assert!(matches!(
                run.on_llm_new_token("a").wait(),
                Err(EmitError::Raised(_))
            ));
        })
        .await;
        callbacks.flush().await.unwrap();
        let lines = log.lines();
        assert_eq!(lines[..2], ["llm_start: prompt", "token: a"]);
        assert!(lines[2].starts_with("llm_error: stopped"), "{lines:?}");
    }

    async fn a_wait_on_a_thread_that_polls_tasks_is_an_error_and_nothing_happens(rt) {
        if !knows_its_threads(&rt) {
            return;
        }
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let manager = callbacks.clone();
        rt.go(async move {
            let start = manager
                .on_llm_start(LlmStart::new("never", "prompt"))
                .wait();
            assert!(matches!(start, Err(EmitError::WouldBlock)));
            assert!(matches!(manager.flush().wait(), Err(EmitError::WouldBlock)));

            let mut run = manager
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .await
                .unwrap();
            assert!(matches!(
                run.on_llm_new_token("never").wait(),
                Err(EmitError::WouldBlock)
            ));
            run.on_llm_new_token("a").await.unwrap();
            run.end("a").await.unwrap();
        })
        .await;
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["llm_start: prompt", "token: a", "llm_end: a"]);
    }

    async fn an_end_is_delivered_even_if_its_wait_would_block(rt) {
        if !knows_its_threads(&rt) {
            return;
        }
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let manager = callbacks.clone();
        rt.go(async move {
            let run = manager
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .await
                .unwrap();
            assert!(matches!(run.end("ab").wait(), Err(EmitError::WouldBlock)));
            let tool = manager
                .on_tool_start(ToolStart::new("tool", "in"))
                .await
                .unwrap();
            assert!(matches!(
                tool.fail("broken").wait(),
                Err(EmitError::WouldBlock)
            ));
        })
        .await;
        callbacks.flush().await.unwrap();
        let mut lines = log.lines();
        lines.sort();
        let expected = [
            "llm_end: ab",
            "llm_start: prompt",
            "tool_error: failed",
            "tool_start: in",
        ];
        assert_eq!(lines, expected);
    }

    async fn an_end_or_event_that_was_polled_before_its_wait_would_block_too(rt) {
        if !knows_its_threads(&rt) {
            return;
        }
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_async_handler(async_handler_fn(async |_, _| {
                yield_now().await;
                Ok(())
            }))
            .with_handler(log.handler());
        let manager = callbacks.clone();
        rt.go(async move {
            let run = manager
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .await
                .unwrap();
            let mut end = run.end("a");
            assert!(poll_once(&mut end).await.is_none());
            assert!(matches!(end.wait(), Err(EmitError::WouldBlock)));
            let mut event = manager.on_custom_event(CustomEvent::new("own", json!(1)));
            assert!(poll_once(&mut event).await.is_none());
            assert!(matches!(event.wait(), Err(EmitError::WouldBlock)));
        })
        .await;
        callbacks.flush().await.unwrap();
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(lines[1..], ["llm_end: a", "llm_start: prompt"]);
    }

    async fn no_handler_is_called_on_a_thread_that_waits_for_a_polled_end(rt) {
        let (log, threads) = (Log::new(), ThreadIds::default());
        let seen = threads.clone();
        let callbacks = rt
            .callbacks()
            .with_handler(log.handler())
            .with_async_handler(async_handler_fn(async move |_, _| {
                yield_now().await;
                note(&seen);
                Ok(())
            }));
        let run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        let mut end = run.end("a");
        assert!(poll_once(&mut end).await.is_none());
        let caller = elsewhere(move || {
            end.wait().unwrap();
            thread::current().id()
        })
        .await;
        assert_eq!(log.lines(), ["llm_start: prompt", "llm_end: a"]);
        let threads = threads.lock().unwrap();
        assert!(threads.len() == 2 && !threads.contains(&caller), "{threads:?}");
    }

    async fn a_wait_inside_an_async_handler_is_an_error(rt) {
        let log = Log::new();
        let inner = rt.callbacks().with_handler(log.handler());
        let errors = Arc::new(Mutex::new(Vec::new()));
        let kept = errors.clone();
        let waits = async_handler_fn(async move |event, _| {
            if let Event::LlmStart(_) = event {
                let start = inner.on_llm_start(LlmStart::new("inner", "prompt")).wait();
                kept.lock().unwrap().push(start.unwrap_err());
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_async_handler(waits);
        let run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        run.end(LlmResult::new()).await.unwrap();
        assert!(matches!(
            errors.lock().unwrap()[..],
            [EmitError::WouldBlock]
        ));
        assert!(log.lines().is_empty());
    }

    /// The waits are for async handlers only. An event for a sync handler is queued, and handled
    /// when the outer call is over.
    async fn a_sync_handler_may_wait_for_async_handlers_in_its_call(rt: with_blocking_threads) {
        let (log, threads) = (Log::new(), ThreadIds::default());
        let inner = rt
            .callbacks()
            .with_async_handler(Sleeper(rt.clone(), log.clone(), threads));
        let (emits, seen) = (inner.clone(), log.clone());
        let outer = handler_fn(move |event, _| {
            if let Event::LlmNewToken(_) = event {
                let mut run = emits.on_llm_start(LlmStart::new("llm", "prompt")).wait()?;
                run.on_llm_new_token("a").wait()?;
                run.on_llm_new_token("b").wait()?;
                seen.write("waited");
                // An end is handed to the spawner, and not waited for.
                run.end("ab").wait()?;
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(outer);
        let expected = [
            "llm_start: prompt",
            "token: a",
            "token: b",
            "waited",
            "llm_end: ab",
        ];

        let mut run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        run.on_llm_new_token("a").await.unwrap();
        inner.flush().await.unwrap();
        assert_eq!(log.lines(), expected);
        run.end(LlmResult::new()).await.unwrap();

        // The same if the outer event was emitted by sync code.
        elsewhere(move || {
            let mut run = callbacks
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .wait()
                .unwrap();
            run.on_llm_new_token("a").wait().unwrap();
            run.end(LlmResult::new()).wait().unwrap();
        })
        .await;
        inner.flush().await.unwrap();
        assert_eq!(log.lines()[expected.len()..], expected);
    }

    async fn a_sync_handlers_events_are_queued_for_others(rt: with_blocking_threads) {
        let log = Log::new();
        let inner = rt.callbacks().with_handler(log.handler());
        let emits = inner.clone();
        let outer = handler_fn(move |event, _| {
            if let Event::LlmNewToken(_) = event {
                emit(&emits)?;
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(outer);
        let mut run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        run.on_llm_new_token("a").await.unwrap();
        run.end(LlmResult::new()).await.unwrap();
        inner.flush().await.unwrap();
        // Runs that start in a call are detached, so that each is a trace of its own.
        let (chain, llm): (Vec<String>, Vec<String>) = log
            .lines()
            .into_iter()
            .partition(|line| line.starts_with("chain") || line.starts_with("text"));
        assert_eq!(
            chain,
            ["chain_start: \"in\"", "text: text", "chain_end: \"out\""]
        );
        assert_eq!(
            llm,
            ["llm_start: prompt", "token: a", "token: b", "llm_end: ab"]
        );
    }

    async fn a_flush_or_shutdown_inside_a_sync_handler_is_an_error(rt: with_blocking_threads) {
        let own = Arc::new(Mutex::new(None::<CallbackManager>));
        let (manager, errors) = (own.clone(), Log::new());
        let seen = errors.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            let Some(callbacks) = manager.lock().unwrap().clone() else {
                return Ok(());
            };
            if let Event::LlmStart(_) = event {
                let minute = Duration::from_secs(60);
                let outcomes = [
                    callbacks.flush().wait(),
                    block_on(callbacks.flush()),
                    callbacks.shutdown(minute).wait().map(drop),
                    block_on(callbacks.shutdown(minute)).map(drop),
                ];
                for outcome in outcomes {
                    seen.write(format!("{:?}", outcome.unwrap_err()));
                }
            }
            Ok(())
        }));
        *own.lock().unwrap() = Some(callbacks.clone());
        let run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        assert_eq!(errors.lines(), ["InsideCall"; 4]);
        // The shutdown inside the call did not happen.
        run.end(LlmResult::new()).await.unwrap();
        drop(
            callbacks
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .await
                .unwrap(),
        );
        own.lock().unwrap().take();
        callbacks.flush().await.unwrap();
    }

    async fn a_flush_or_shutdown_inside_an_async_handler_is_an_error(rt) {
        let own = Arc::new(Mutex::new(None::<CallbackManager>));
        let (manager, errors) = (own.clone(), Log::new());
        let seen = errors.clone();
        let callbacks =
            rt.callbacks()
                .with_async_handler(async_handler_fn(async move |event, _| {
                    let Some(callbacks) = manager.lock().unwrap().clone() else {
                        return Ok(());
                    };
                    if let Event::LlmStart(_) = event {
                        yield_now().await;
                        seen.write(format!("{:?}", callbacks.flush().await.unwrap_err()));
                        let shutdown = callbacks.shutdown(Duration::from_secs(60)).await;
                        seen.write(format!("{:?}", shutdown.unwrap_err()));
                    }
                    Ok(())
                }));
        *own.lock().unwrap() = Some(callbacks.clone());
        let run = callbacks
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        assert_eq!(errors.lines(), ["InsideCall"; 2]);
        run.end(LlmResult::new()).await.unwrap();
        own.lock().unwrap().take();
    }

    /// Without a handler there is nothing to wait for, so that a wait is allowed anywhere.
    async fn a_wait_without_handlers_never_blocks(rt) {
        let manager = rt.callbacks();
        rt.go(async move {
            let mut run = manager
                .on_llm_start(LlmStart::new("llm", "prompt"))
                .wait()?;
            run.on_llm_new_token("a").wait()?;
            run.end("a").wait()
        })
        .await
        .unwrap();
    }
}
