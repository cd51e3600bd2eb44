//! The promises, a module for each, every body on every runtime.

mod context_is_there;
mod emitting_inside_a_handler;
mod every_run_ends;
mod failures_stay;
mod memory_is_bounded;
mod nobody_waits_for_a_stranger;
mod nothing_accepted_is_lost;
mod one_at_a_time_in_turn;
mod one_blocking_thread;
mod order;
mod same_behaviour;
mod the_loop_is_never_blocked;
mod unheard_is_free;
mod what_began_ends;

use std::sync::{Arc, Mutex};

use rappel_core::prelude::*;
use rappel_core::{HandlerFailure, json};
use rappel_tests::record::{Log, line};
use rappel_tests::runtimes::Rt;

/// One log for each way in which a handler can be registered without losing anything.
struct Watched {
    callbacks: CallbackManager,
    logs: Vec<(&'static str, Log)>,
}

impl Watched {
    fn new(rt: &Rt) -> Self {
        let mut logs = Vec::new();
        let mut log = |name| {
            let log = Log::new();
            logs.push((name, log.clone()));
            log
        };
        let options = HandlerOptions::new;
        let narrow = Pipelined { capacity: 1 };
        let wide = Pipelined { capacity: 64 };
        let background = Background {
            capacity: 4,
            open_runs: 1_000,
        };
        let callbacks = rt
            .callbacks()
            .with_handler(sync(log("sync")))
            .with_handler_options(sync(log("sync, inline")), options().run_inline(true))
            .with_handler_options(sync(log("sync, narrow")), options().delivery(narrow))
            .with_handler_options(sync(log("sync, wide")), options().delivery(wide))
            .with_handler_options(
                sync(log("sync, background")),
                options().delivery(background).overflow(Overflow::Wait),
            )
            .with_async_handler(asynchronous(log("async")))
            .with_async_handler_options(asynchronous(log("async, inline")), options().run_inline(true))
            .with_async_handler_options(asynchronous(log("async, on the runtime")), options().on_runtime())
            .with_async_handler_options(asynchronous(log("async, narrow")), options().delivery(narrow))
            .with_async_handler_options(asynchronous(log("async, wide")), options().delivery(wide))
            .with_async_handler_options(
                asynchronous(log("async, background")),
                options().delivery(background).overflow(Overflow::Wait),
            );
        Self { callbacks, logs }
    }

    /// What each handler saw of that run.
    fn of(&self, run: &str) -> Vec<(&'static str, Vec<String>)> {
        let of = |log: &Log| {
            let lines = log.lines().into_iter();
            lines
                .filter_map(|line| Some(line.strip_prefix(run)?.strip_prefix(": ")?.to_owned()))
                .collect()
        };
        self.logs.iter().map(|(name, log)| (*name, of(log))).collect()
    }
}

fn sync(log: Log) -> impl CallbackHandler {
    handler_fn(move |event, run| {
        log.write(format!("{}: {}", run.name(), line(event)));
        Ok(())
    })
}

/// Yields in each call, so that it takes more than a poll.
fn asynchronous(log: Log) -> impl AsyncCallbackHandler {
    async_handler_fn(move |event, run| {
        let (log, line) = (log.clone(), format!("{}: {}", run.name(), line(event)));
        async move {
            futures_lite::future::yield_now().await;
            log.write(line);
            Ok(())
        }
    })
}

/// A run of so many tokens.
async fn streamed(callbacks: CallbackManager, name: String, tokens: usize) -> Result<(), RunError> {
    let run = callbacks.on_llm_start(LlmStart::new(name, "prompt")).await?;
    for number in 0..tokens {
        run.on_llm_new_token(format!("{number} ")).await?;
    }
    run.end(LlmResult::from_text("all")).await?;
    Ok(())
}

/// What a handler sees of it.
fn whole(tokens: usize) -> Vec<String> {
    let mut lines = vec!["llm_start: prompt".to_owned()];
    lines.extend((0..tokens).map(|number| format!("token: {number} ")));
    lines.push("llm_end: all".to_owned());
    lines
}

async fn chain(callbacks: &CallbackManager, name: &'static str) -> rappel_core::ChainRun {
    callbacks.on_chain_start(ChainStart::new(name, json!(0))).await.unwrap()
}

type Failures = Arc<Mutex<Vec<HandlerFailure>>>;

/// Keeps what is reported.
fn reporting<R>(callbacks: CallbackManager<R>) -> (CallbackManager<R>, Failures) {
    let failures = Failures::default();
    let kept = failures.clone();
    let callbacks = callbacks.on_handler_failure(move |failure| kept.lock().unwrap().push(failure.clone()));
    (callbacks, failures)
}

fn causes(failures: &Failures) -> Vec<String> {
    let failures = failures.lock().unwrap();
    failures
        .iter()
        .map(|failure| format!("{}: {}", failure.event, failure.cause))
        .collect()
}
