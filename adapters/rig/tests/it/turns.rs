//! Several turns with tools, not streamed.

use rappel_rig::RigHook;
use rappel_tests::openai_server::{Fault, Reply, Script, Server};
use rig_agent::AgentBuilder;
use rig_agent::agent::{
    AgentHook, HookContext, InvalidToolCallAction, InvalidToolCallContext, RunStart, RunStartAction,
};

use crate::scene::{Add, logged, numbers, openai, server};

#[tokio::test]
async fn an_agent_with_parallel_tools_over_two_turns() {
    let server = server([
        Reply::text("Adding.").call("c1", "add", &numbers(1, 2)).call("c2", "add", &numbers(3, 4)),
        Reply::text("3 and 7"),
    ]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .preamble("Add.")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks).with_model("m"))
        .build();
    let response = agent.prompt("1+2, 3+4?").max_turns(3).tool_concurrency(2).await.unwrap();
    assert_eq!(response.output(), "3 and 7");
    callbacks.flush().await.unwrap();
    log.assert(&[]);
}

#[tokio::test]
async fn the_error_of_a_tool_is_an_error_of_its_run_only() {
    let server = server([
        Reply::default().call("c1", "add", &numbers(i64::MAX, 1)),
        Reply::text("It is too large"),
    ]);
    let (callbacks, log) = logged();
    let agent =
        AgentBuilder::new(openai(&server)).tool(Add).add_hook(RigHook::new(&callbacks)).build();
    let response = agent.prompt("?").max_turns(3).await.unwrap();
    assert_eq!(response.output(), "It is too large");
    callbacks.flush().await.unwrap();
    log.assert(&[]);
}

/// Answers an invalid call with feedback.
struct Retries;

impl AgentHook for Retries {
    async fn on_invalid_tool_call(
        &self,
        _: &HookContext,
        _: &InvalidToolCallContext,
    ) -> Option<InvalidToolCallAction> {
        Some(InvalidToolCallAction::retry("there is only `add`"))
    }
}

#[tokio::test]
async fn a_call_of_an_unknown_tool_is_a_custom_event_and_the_turn_ends() {
    let server = server([
        Reply::text("Hm.").call("c1", "subtract", &numbers(1, 2)),
        Reply::text("I cannot"),
    ]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .add_hook(Retries)
        .build();
    let runner = agent.prompt("1-2?").max_turns(3).max_invalid_tool_call_retries(1);
    assert_eq!(runner.await.unwrap().output(), "I cannot");
    callbacks.flush().await.unwrap();
    log.assert(&[]);
}

#[tokio::test]
async fn an_unknown_tool_that_no_hook_resolves_fails_the_model_and_the_agent() {
    let server = server([Reply::default().call("c1", "subtract", &numbers(1, 2))]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .build();
    assert!(agent.prompt("1-2?").await.is_err());
    callbacks.flush().await.unwrap();
    log.assert(&[]);
}

#[tokio::test]
async fn the_error_of_the_server_is_the_model_s_and_the_agent_s() {
    let fault = Fault::Status(500, "{\"error\": {\"message\": \"overloaded\"}}".to_owned());
    let server = Server::start(Script::joke().fault(fault)).unwrap();
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server)).add_hook(RigHook::new(&callbacks)).build();
    assert!(agent.prompt("?").await.is_err());
    callbacks.flush().await.unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[2].starts_with("  model.on_llm_error "), "{lines:#?}");
    assert!(lines[3].starts_with("agent.on_chain_error "), "{lines:#?}");
    assert!(lines[2].contains("overloaded") && lines[3].contains("overloaded"), "{lines:#?}");
}

/// Stops each run before it starts.
struct Stops;

impl AgentHook for Stops {
    async fn on_run_start(&self, _: &HookContext, _: RunStart<'_>) -> RunStartAction {
        RunStartAction::stop("not today")
    }
}

#[tokio::test]
async fn a_run_that_a_hook_before_it_stops_is_seen_too() {
    let server = server([Reply::text("never asked")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .add_hook(Stops)
        .add_hook(RigHook::new(&callbacks))
        .build();
    assert!(agent.prompt("?").await.is_err());
    callbacks.flush().await.unwrap();
    assert!(server.requests().is_empty());
    log.assert(&[]);
}
