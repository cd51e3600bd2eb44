//! An error or a panic of one handler harms no other and not the run, and is reported; unless it was registered with `raise_error`.

use std::sync::{Arc, Mutex};

use rappel_core::prelude::*;
use rappel_core::{EmitError, FailureCause, HandlerFailure, json};
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;
use rappel_tests::runtimes::Rt;

type Failures = Arc<Mutex<Vec<HandlerFailure>>>;

/// A manager whose failures are kept.
fn reporting(rt: &Rt) -> (CallbackManager, Failures) {
    let failures = Failures::default();
    let kept = failures.clone();
    let callbacks = rt
        .callbacks()
        .on_handler_failure(move |failure| kept.lock().unwrap().push(failure.clone()));
    (callbacks, failures)
}

/// Fails on every token, in one way or another.
#[derive(Clone, Copy)]
struct Failing(How);

#[derive(Clone, Copy)]
enum How {
    Error,
    Panic,
}

impl How {
    fn fail(self) -> HandlerResult {
        match self {
            Self::Error => Err("it broke".parse::<u8>().unwrap_err().into()),
            Self::Panic => panic!("it broke"),
        }
    }
}

impl CallbackHandler for Failing {
    fn on_llm_new_token(&mut self, _: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        self.0.fail()
    }
}

impl AsyncCallbackHandler for Failing {
    async fn on_llm_new_token(&self, _: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        futures_lite::future::yield_now().await;
        self.0.fail()
    }
}

/// An async handler that panics before it has a future.
struct PanicsAtOnce;

impl AsyncCallbackHandler for PanicsAtOnce {
    #[allow(clippy::manual_async_fn, reason = "the panic is to come before the future")]
    fn on_llm_new_token(&self, _: &LlmNewToken, _: &RunInfo) -> impl Future<Output = HandlerResult> + Send {
        panic!("it broke");
        #[allow(unreachable_code)]
        async {
            Ok(())
        }
    }
}

/// Has every kind of handler that can fail, `named` by what it is.
fn with_failing(callbacks: CallbackManager, how: How) -> CallbackManager {
    let named = |name: &str| HandlerOptions::new().name(name);
    callbacks
        .with_handler_options(Failing(how), named("sync"))
        .with_handler_options(Failing(how), named("inline").run_inline(true))
        .with_async_handler_options(Failing(how), named("async"))
        .with_async_handler_options(Failing(how), named("async inline").run_inline(true))
}

async fn one_token(callbacks: &CallbackManager) {
    let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
    run.on_llm_new_token("a").await.unwrap();
    run.end(LlmResult::from_text("a")).await.unwrap();
}

const WHOLE_RUN: [&str; 3] = ["llm_start: prompt", "token: a", "llm_end: a"];

on_every_runtime! {
    async fn an_error_is_reported_and_harms_nobody(rt) {
        let (callbacks, failures) = reporting(&rt);
        let (first, last) = (Log::new(), Log::new());
        let callbacks = with_failing(callbacks.with_handler(first.handler()), How::Error).with_async_handler(last.async_handler());
        one_token(&callbacks).await;
        assert_eq!(first.lines(), WHOLE_RUN);
        assert_eq!(last.lines(), WHOLE_RUN);

        let failures = failures.lock().unwrap();
        let mut names: Vec<&str> = failures.iter().map(|failure| &*failure.handler).collect();
        names.sort_unstable();
        assert_eq!(names, ["async", "async inline", "inline", "sync"]);
        for failure in &*failures {
            assert_eq!(failure.event, EventKind::LlmNewToken);
            let expected = format!("handler `{}` failed in on_llm_new_token: invalid digit found in string", failure.handler);
            assert_eq!(failure.to_string(), expected);
        }
    }

    async fn a_panic_is_reported_and_harms_nobody(rt) {
        let (callbacks, failures) = reporting(&rt);
        let (first, last) = (Log::new(), Log::new());
        let callbacks = with_failing(callbacks.with_handler(first.handler()), How::Panic)
            .with_async_handler_options(PanicsAtOnce, HandlerOptions::new().name("at once"))
            .with_async_handler(last.async_handler());
        // Twice: a handler that panicked is called again.
        one_token(&callbacks).await;
        one_token(&callbacks).await;
        assert_eq!(first.lines(), [WHOLE_RUN, WHOLE_RUN].concat());
        assert_eq!(last.lines(), [WHOLE_RUN, WHOLE_RUN].concat());

        let failures = failures.lock().unwrap();
        assert_eq!(failures.len(), 10);
        for failure in &*failures {
            assert!(matches!(&failure.cause, FailureCause::Panicked(message) if **message == *"it broke"), "{failure}");
        }
    }

    /// A tuple is one handler; but its members fail each for itself.
    async fn a_tuples_member_that_panics_harms_no_other(rt) {
        let (callbacks, failures) = reporting(&rt);
        let (sync, asynchronous) = (Log::new(), Log::new());
        let callbacks = callbacks
            .with_handler((Failing(How::Panic), sync.handler()))
            .with_async_handler((PanicsAtOnce, Failing(How::Panic), asynchronous.async_handler()));
        one_token(&callbacks).await;
        assert_eq!(sync.lines(), WHOLE_RUN);
        assert_eq!(asynchronous.lines(), WHOLE_RUN);
        let failures = failures.lock().unwrap();
        assert!(failures.iter().all(|failure| failure.to_string().ends_with("panicked: it broke")) && failures.len() == 2, "{failures:?}");
    }

    async fn a_report_that_panics_harms_nobody(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().on_handler_failure(|_| panic!("the report broke"));
        let callbacks = with_failing(callbacks, How::Error).with_handler(log.handler());
        one_token(&callbacks).await;
        assert_eq!(log.lines(), WHOLE_RUN);
    }

    /// The emitter gets the first of those that raise, inline ones before the others, once all have seen the event.
    async fn raise_error_comes_back_once_all_have_seen_the_event(rt) {
        let (callbacks, failures) = reporting(&rt);
        let (sync, asynchronous) = (Log::new(), Log::new());
        let raising = |name: &str| HandlerOptions::new().name(name).raise_error(true);
        let callbacks = callbacks
            .with_handler_options(Failing(How::Error), HandlerOptions::new().run_inline(true))
            .with_async_handler_options(Failing(How::Error), raising("async"))
            .with_handler_options(Failing(How::Panic), raising("inline").run_inline(true))
            .with_handler(sync.handler())
            .with_async_handler(asynchronous.async_handler());
        let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
        let error = run.on_llm_new_token("a").await.unwrap_err();
        assert!(matches!(&error, EmitError::Raised(failure) if *failure.handler == *"inline"), "{error}");
        assert_eq!(error.to_string(), "stopped: handler `inline` failed in on_llm_new_token: panicked: it broke");
        assert_eq!(sync.lines(), WHOLE_RUN[..2]);
        assert_eq!(asynchronous.lines(), WHOLE_RUN[..2]);
        assert_eq!(failures.lock().unwrap().len(), 3);

        // Giving up ends the run as stopped, with the partial result.
        drop(run);
        callbacks.flush().await;
        assert_eq!(sync.lines()[2..], ["llm_error: stopped: a"]);
        assert_eq!(asynchronous.lines()[2..], ["llm_error: stopped: a"]);
    }

    /// An emitter that goes on after a raised failure is not stopped by it later.
    async fn going_on_after_a_raised_failure_is_the_emitters_choice(rt) {
        let log = Log::new();
        let (callbacks, _failures) = reporting(&rt);
        let callbacks = callbacks
            .with_handler_options(Failing(How::Error), HandlerOptions::new().raise_error(true))
            .with_async_handler(log.async_handler());
        let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
        run.on_llm_new_token("a").await.unwrap_err();
        run.on_retry(Retry::new(1, "again", std::time::Duration::ZERO)).await.unwrap();
        drop(run);
        callbacks.flush().await;
        assert_eq!(log.lines().last().unwrap(), "llm_error: cancelled: a");
    }

    /// A start that raised has made its run; an end that raised has ended it.
    async fn a_start_that_raises_has_started_its_run(rt) {
        let log = Log::new();
        let (callbacks, _failures) = reporting(&rt);
        let picky = handler_fn(|event, _| match event {
            Event::ChainStart(_) | Event::ChainEnd(_) => Err(HandlerError::new("not this one")),
            _ => Ok(()),
        });
        let callbacks = callbacks
            .with_handler(log.handler())
            .with_handler_options(picky, HandlerOptions::new().raise_error(true).name("picky"));
        let start = callbacks.on_chain_start(ChainStart::new("chain", json!(1))).await;
        let (chain, error) = start.unwrap_err().into_parts();
        assert_eq!(error.to_string(), "stopped: handler `picky` failed in on_chain_start: not this one");
        chain.on_text("still here").await.unwrap();
        chain.end(json!(2)).await.unwrap_err();
        callbacks.flush().await;
        assert_eq!(log.lines(), ["chain_start: 1", "text: still here", "chain_end: 2"]);

        // With `?`, the run is given up.
        let start = callbacks.on_chain_start(ChainStart::new("chain", json!(1))).await;
        let error = RunError::from(start.unwrap_err());
        assert!(matches!(error, RunError::Stopped(_)));
        callbacks.flush().await;
        assert_eq!(log.lines()[3..], ["chain_start: 1", "chain_error: stopped"]);
    }
}
