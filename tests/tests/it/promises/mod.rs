//! The promises of the design, a module for each. Every body runs on every runtime.

mod context;
mod every_run_ends;
mod failures_stay;
mod loop_never_blocked;
mod memory_is_bounded;
mod no_deadlock;
mod nobody_waits_for_a_stranger;
mod nothing_accepted_is_lost;
mod one_at_a_time;
mod order;
mod same_behaviour;
mod stage;
mod tree_order;
mod unheard_is_free;
mod watched;
mod what_began_ends;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_lite::future::{poll_once, yield_now};
use rappel_core::prelude::*;
use rappel_core::{FailureCause, json};
use rappel_tests::record::{Log, line};
use rappel_tests::runtimes::Rt;

use stage::{Stage, gated};
use watched::{Watched, asynchronous, sync};

/// Longer than any test may take. If a body waits for it in full, the watchdog ends the process.
const LONG: Duration = Duration::from_secs(3_600);

/// A run of that many tokens.
async fn streamed(callbacks: CallbackManager, name: String, tokens: usize) -> Result<(), RunError> {
    let mut run = callbacks.on_llm_start(LlmStart::new(name, "prompt")).await?;
    for number in 0..tokens {
        run.on_llm_new_token(format!("{number} ")).await?;
    }
    run.end("all").await?;
    Ok(())
}

/// What a handler sees of such a run.
fn whole(tokens: usize) -> Vec<String> {
    let mut lines = vec!["llm_start: prompt".to_owned()];
    lines.extend((0..tokens).map(|number| format!("token: {number} ")));
    lines.push("llm_end: all".to_owned());
    lines
}

async fn chain(callbacks: &CallbackManager, name: &'static str) -> ChainRun {
    callbacks.on_chain_start(ChainStart::new(name, json!(0))).await.unwrap()
}

async fn model(callbacks: &CallbackManager, name: &'static str) -> LlmRun {
    callbacks.on_llm_start(LlmStart::new(name, "prompt")).await.unwrap()
}

async fn tool(callbacks: &CallbackManager, name: &'static str) -> ToolRun {
    callbacks.on_tool_start(ToolStart::new(name, "input")).await.unwrap()
}

/// Flushes until a flush finds nothing new. Events that handlers emit in their calls come after a
/// flush that began before.
async fn settled(callbacks: &CallbackManager) {
    let mut before = None;
    loop {
        callbacks.flush().await.unwrap();
        let stats = callbacks.stats();
        if before.as_ref() == Some(&stats) {
            return;
        }
        before = Some(stats);
    }
}

type Failures = Arc<Mutex<Vec<HandlerFailure>>>;

/// Keeps the failures that are reported.
fn reporting(callbacks: CallbackManager) -> (CallbackManager, Failures) {
    let failures = Failures::default();
    let kept = failures.clone();
    let callbacks = callbacks.on_handler_failure(move |failure| {
        kept.lock().unwrap().push(failure.clone());
    });
    (callbacks, failures)
}

/// The reported failures, each as `event: cause`.
fn causes(failures: &Failures) -> Vec<String> {
    let failures = failures.lock().unwrap();
    failures.iter().map(|failure| format!("{}: {}", failure.event, cause(failure))).collect()
}

fn cause(failure: &HandlerFailure) -> String {
    match &failure.cause {
        FailureCause::Error(error) => error.to_string(),
        FailureCause::Panicked(message) => format!("panicked: {message}"),
        FailureCause::TimedOut(after) => format!("timed out after {after:?}"),
        FailureCause::Busy => "busy".to_owned(),
        FailureCause::RuntimeGone => "runtime gone".to_owned(),
        other => other.to_string(),
    }
}

const NO_FAILURES: [&str; 0] = [];
