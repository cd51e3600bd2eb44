//! Promise 6: an error, a panic or a time-out of one handler, or a panic in the `Drop` of anything
//! that it made, harms no other handler, run or emitter. Each failure is counted and reported.

mod drops;
mod drops_of_errors;
mod raised;
mod runtime_gone;
mod time_outs;
mod time_outs_of_sync_calls;

use rappel_core::{BoxHandler, DynAsyncHandler, Timer};
use rappel_tests::on_every_runtime;

use super::*;

/// How long a handler with a time-out may take, on the virtual clock.
const SHORT: Duration = Duration::from_millis(50);

fn timed_out(event: &str) -> String {
    format!("{event}: timed out after 50ms")
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
    fn on_llm_new_token(&mut self, _: &LlmNewToken, _: &EventContext) -> HandlerResult {
        self.0.fail()
    }
}

impl AsyncCallbackHandler for Failing {
    async fn on_llm_new_token(&self, _: &LlmNewToken, _: &EventContext) -> HandlerResult {
        yield_now().await;
        self.0.fail()
    }
}

/// An async handler that panics before it has a future.
struct PanicsAtOnce;

impl AsyncCallbackHandler for PanicsAtOnce {
    #[allow(clippy::manual_async_fn, reason = "the panic is to come before the future")]
    fn on_llm_new_token(
        &self,
        _: &LlmNewToken,
        _: &EventContext,
    ) -> impl Future<Output = HandlerResult> + Send {
        panic!("it broke");
        #[allow(unreachable_code)]
        async {
            Ok(())
        }
    }
}

/// Adds every kind of awaited handler that can fail, named after its kind.
fn with_failing(callbacks: CallbackManager, how: How) -> CallbackManager {
    let named = |name: &str| HandlerOptions::new().name(name);
    let inline = |name: &str| named(name).delivery(Awaited::new().inline());
    callbacks
        .with_handler_options(Failing(how), named("sync"))
        .with_handler_options(Failing(how), inline("inline"))
        .with_async_handler_options(Failing(how), named("async"))
        .with_async_handler_options(Failing(how), inline("async inline"))
}

async fn one_token(callbacks: &CallbackManager) {
    let mut run = model(callbacks, "llm").await;
    run.on_llm_new_token("a").await.unwrap();
    run.end("a").await.unwrap();
}

const WHOLE_RUN: [&str; 3] = ["llm_start: prompt", "token: a", "llm_end: a"];

on_every_runtime! {
    async fn an_error_is_reported_and_harms_no_other_handler(rt) {
        let (callbacks, failures) = reporting(rt.callbacks());
        let (first, last) = (Log::new(), Log::new());
        let callbacks = with_failing(callbacks.with_handler(first.handler()), How::Error)
            .with_async_handler(last.async_handler());
        one_token(&callbacks).await;
        assert_eq!(first.lines(), WHOLE_RUN);
        assert_eq!(last.lines(), WHOLE_RUN);

        let failures = failures.lock().unwrap();
        let mut names: Vec<&str> = failures.iter().map(|failure| &*failure.handler).collect();
        names.sort_unstable();
        assert_eq!(names, ["async", "async inline", "inline", "sync"]);
        for failure in &*failures {
            assert_eq!(failure.event, EventKind::LlmNewToken);
            let expected = format!(
                "handler `{}` failed in on_llm_new_token: invalid digit found in string",
                failure.handler,
            );
            assert_eq!(failure.to_string(), expected);
        }
    }

    async fn a_panic_is_reported_and_harms_no_other_handler(rt) {
        let (callbacks, failures) = reporting(rt.callbacks());
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
            assert_eq!(cause(failure), "panicked: it broke");
        }
    }

    /// A list is one handler, but its members fail each for itself.
    async fn a_lists_member_that_panics_harms_no_other_member(rt) {
        let (callbacks, failures) = reporting(rt.callbacks());
        let (sync, asynchronous) = (Log::new(), Log::new());
        let members: Vec<BoxHandler> =
            vec![Box::new(Failing(How::Panic)), Box::new(sync.handler())];
        let async_members = vec![
            DynAsyncHandler::new(PanicsAtOnce),
            DynAsyncHandler::new(Failing(How::Panic)),
            DynAsyncHandler::new(asynchronous.async_handler()),
        ];
        let callbacks = callbacks.with_handler(members).with_async_handler(async_members);
        one_token(&callbacks).await;
        assert_eq!(sync.lines(), WHOLE_RUN);
        assert_eq!(asynchronous.lines(), WHOLE_RUN);
        // One for each list.
        assert_eq!(causes(&failures), ["on_llm_new_token: panicked: it broke"; 2]);
    }

    async fn a_report_that_panics_harms_no_handler(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().on_handler_failure(|_| panic!("the report broke"));
        let callbacks = with_failing(callbacks, How::Error).with_handler(log.handler());
        one_token(&callbacks).await;
        assert_eq!(log.lines(), WHOLE_RUN);
    }

    async fn failures_of_queued_handlers_are_counted_and_reported(rt) {
        let (callbacks, failures) = reporting(rt.callbacks());
        let fails = || handler_fn(|event, _| match event {
            Event::LlmNewToken(_) => Err("it broke".into()),
            Event::LlmEnd(_) => panic!("it broke"),
            _ => Ok(()),
        });
        let log = Log::new();
        let callbacks = callbacks
            .with_handler_options(fails(), Pipelined::new(4))
            .with_handler_options(fails(), Background::new(4).open_traces(4))
            .with_handler(sync(log.clone()));
        streamed(callbacks.clone(), "run".into(), 1).await.unwrap();
        callbacks.flush().await.unwrap();
        let mut told = causes(&failures);
        told.sort();
        let (end, token) = ("on_llm_end: panicked: it broke", "on_llm_new_token: it broke");
        assert_eq!(told, [end, end, token, token]);
        assert_eq!(log.lines().len(), 3);
        for stats in &callbacks.stats()[..2] {
            assert_eq!((stats.handled, stats.failed, stats.pending), (1, 2, 0));
        }
    }
}
