//! Panics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rappel_core::runtime::SystemEntropy;
use rappel_core::{CallbackManager, Clock, Event, EventContext, HandlerResult, handler_fn};
use rappel_rig::RigHook;
use rappel_tests::openai_server::Reply;
use rappel_tokio::Tokio;
use rig_agent::AgentBuilder;

use crate::scene::{Log, drain, logged, openai, server};

/// A clock that panics once it is broken.
struct Broken(Arc<AtomicBool>);

impl Clock for Broken {
    fn now(&self) -> Option<Duration> {
        assert!(!self.0.load(Ordering::Relaxed), "the clock is broken");
        Some(Duration::ZERO)
    }
}

#[tokio::test]
async fn a_panic_in_the_hook_does_not_reach_the_agent() {
    let server = server([Reply::text("fine")]);
    let broken = Arc::new(AtomicBool::new(true));
    let clock = Broken(broken.clone());
    let log = Log::default();
    let callbacks = CallbackManager::with_sources(Tokio::current(), clock, SystemEntropy)
        .with_handler(log.handler());
    let agent = AgentBuilder::new(openai(&server)).add_hook(RigHook::new(&callbacks)).build();
    assert_eq!(agent.prompt("?").await.unwrap().output(), "fine");
    assert_eq!(drain(agent.prompt("?").stream()).await, None);
    broken.store(false, Ordering::Relaxed);
    callbacks.flush().await.unwrap();
    log.assert(&[]);
}

#[tokio::test]
async fn a_handler_that_panics_or_raises_does_not_stop_the_agent() {
    let server = server([Reply::text("fine")]);
    let (callbacks, log) = logged();
    let raising =
        rappel_core::HandlerOptions::new().delivery(rappel_core::Awaited::new().raise_error());
    let callbacks = callbacks
        .on_handler_failure(|_| ())
        .with_handler(handler_fn(|_: &Event, _: &EventContext| -> HandlerResult { panic!("no") }))
        .with_handler_options(
            handler_fn(|_: &Event, _: &EventContext| -> HandlerResult { Err("no".into()) }),
            raising,
        );
    let agent = AgentBuilder::new(openai(&server)).add_hook(RigHook::new(&callbacks)).build();
    assert_eq!(agent.prompt("?").await.unwrap().output(), "fine");
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_end \"fine\" stop 1+1 by m",
        "agent.on_agent_finish {\"output\":\"fine\"}",
        "agent.on_chain_end {\"output\":\"fine\"}",
    ]);
}
