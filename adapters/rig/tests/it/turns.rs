//! Several turns with tools, not streamed.

use std::time::Duration;

use rappel_core::{
    AgentAction, AsyncCallbackHandler, CallbackManager, EventContext, HandlerResult,
};
use rappel_rig::RigHook;
use rappel_tests::openai_server::{Fault, Reply, Script, Server};
use rig_agent::AgentBuilder;
use rig_agent::agent::{
    AgentHook, DispatchAction, DispatchEvent, HookContext, InvalidToolCallAction,
    InvalidToolCallContext, RunStart, RunStartAction,
};
use rig_agent::run::UnhandledInvalidToolCall;

use serde_json::json;

use crate::scene::{Add, assert_lines, logged, logged_inline, numbers, openai, server};

/// Two calls side by side in the first turn.
async fn two_sums(callbacks: &CallbackManager) {
    let server = server([
        Reply::text("Adding.").call("c1", "add", &numbers(1, 2)).call("c2", "add", &numbers(3, 4)),
        Reply::text("3 and 7"),
    ]);
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .preamble("Add.")
        .tool(Add)
        .add_hook(RigHook::new(callbacks).with_model("m"))
        .build();
    let response = agent.prompt("1+2, 3+4?").max_turns(3).tool_concurrency(2).await.unwrap();
    assert_eq!(response.output(), "3 and 7");
    callbacks.flush().await.unwrap();
}

const TWO_SUMS: &[&str] = &[
    "calc.on_chain_start agent {\"input\":\"1+2, 3+4?\"}",
    "  m.on_chat_model_start System: Add. | Human: 1+2, 3+4?",
    "  m.on_llm_end \"Adding.\" add({\"x\":1,\"y\":2}) c1 add({\"x\":3,\"y\":4}) c2 tool_calls 2+5 by m",
    "calc.on_agent_action add {\"x\":1,\"y\":2}",
    "  add.on_tool_start {\"x\":1,\"y\":2} c1",
    "calc.on_agent_action add {\"x\":3,\"y\":4}",
    "  add.on_tool_start {\"x\":3,\"y\":4} c2",
    "  add.on_tool_end \"3\" c1",
    "  add.on_tool_end \"7\" c2",
    "  m.on_chat_model_start System: Add. | Human: 1+2, 3+4? | AI: Adding.add({\"x\":1,\"y\":2})add({\"x\":3,\"y\":4}) | Tool: 3 | Tool: 7",
    "  m.on_llm_end \"3 and 7\" stop 5+3 by m",
    "calc.on_agent_finish {\"output\":\"3 and 7\"}",
    "calc.on_chain_end {\"output\":\"3 and 7\"}",
];

#[tokio::test]
async fn an_agent_with_parallel_tools_over_two_turns() {
    let (callbacks, log) = logged_inline();
    two_sums(&callbacks).await;
    log.assert(TWO_SUMS);
}

/// Is pending once in each call.
struct Yields;

impl AsyncCallbackHandler for Yields {
    async fn on_agent_action(&self, _: &AgentAction, _: &EventContext) -> HandlerResult {
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[tokio::test]
async fn no_event_of_parallel_tools_is_lost_if_a_hook_waits_for_a_handler() {
    let (callbacks, log) = logged();
    two_sums(&callbacks.with_async_handler(Yields)).await;
    let expected = [
        "calc.on_chain_start agent {\"input\":\"1+2, 3+4?\"}",
        "calc.on_agent_action add {\"x\":1,\"y\":2}",
        "calc.on_agent_action add {\"x\":3,\"y\":4}",
        "calc.on_agent_finish {\"output\":\"3 and 7\"}",
        "calc.on_chain_end {\"output\":\"3 and 7\"}",
        "  add.on_tool_start {\"x\":1,\"y\":2} c1",
        "  add.on_tool_end \"3\" c1",
        "  add.on_tool_start {\"x\":3,\"y\":4} c2",
        "  add.on_tool_end \"7\" c2",
        "  m.on_chat_model_start System: Add. | Human: 1+2, 3+4?",
        "  m.on_llm_end \"Adding.\" add({\"x\":1,\"y\":2}) c1 add({\"x\":3,\"y\":4}) c2 tool_calls 2+5 by m",
        "  m.on_chat_model_start System: Add. | Human: 1+2, 3+4? | AI: Adding.add({\"x\":1,\"y\":2})add({\"x\":3,\"y\":4}) | Tool: 3 | Tool: 7",
        "  m.on_llm_end \"3 and 7\" stop 5+3 by m",
    ];
    assert_lines(&log.trees().concat(), &expected);
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
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_end \"\" add({\"x\":9223372036854775807,\"y\":1}) c1 tool_calls 1+2 by m",
        "agent.on_agent_action add {\"x\":9223372036854775807,\"y\":1}",
        "  add.on_tool_start {\"x\":9223372036854775807,\"y\":1} c1",
        "  add.on_tool_error the sum is too large (other)",
        "  model.on_chat_model_start Human: ? | AI: add({\"x\":9223372036854775807,\"y\":1}) | Tool: the sum is too large",
        "  model.on_llm_end \"It is too large\" stop 6+4 by m",
        "agent.on_agent_finish {\"output\":\"It is too large\"}",
        "agent.on_chain_end {\"output\":\"It is too large\"}",
    ]);
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
    log.assert(&[
        "calc.on_chain_start agent {\"input\":\"1-2?\"}",
        "  model.on_chat_model_start Human: 1-2?",
        "calc.on_custom_event invalid_tool_call {\"tool\":\"subtract\",\"tool_call_id\":\"c1\",\"arguments\":\"{\\\"x\\\":1,\\\"y\\\":2}\",\"reason\":\"unknown_tool\"}",
        "  model.on_llm_end \"Hm.\" subtract({\"x\":1,\"y\":2}) c1",
        "  model.on_chat_model_start Human: 1-2? | AI: Hm.subtract({\"x\":1,\"y\":2}) | Tool: there is only `add`",
        "  model.on_llm_end \"I cannot\" stop 6+2 by m",
        "calc.on_agent_finish {\"output\":\"I cannot\"}",
        "calc.on_chain_end {\"output\":\"I cannot\"}",
    ]);
}

#[tokio::test]
async fn arguments_that_are_no_object_are_a_custom_event_and_no_tool_s_run() {
    let server = server([Reply::default().call("c1", "add", &json!("1+2")), Reply::text("No")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .build();
    assert_eq!(agent.prompt("1+2?").max_turns(3).await.unwrap().output(), "No");
    callbacks.flush().await.unwrap();
    log.assert(&[
        "calc.on_chain_start agent {\"input\":\"1+2?\"}",
        "  model.on_chat_model_start Human: 1+2?",
        "  model.on_llm_end \"\" add(\"1+2\") c1 tool_calls 1+2 by m",
        "calc.on_custom_event invalid_tool_call {\"tool\":\"add\",\"tool_call_id\":\"c1\",\"arguments\":\"\\\"1+2\\\"\",\"reason\":\"malformed_arguments\"}",
        "  model.on_chat_model_start Human: 1+2? | AI: add(\"1+2\") | Tool: The arguments for tool `add` are not a JSON object: \"1+2\". Call the tool again with a JSON object as its arguments.",
        "  model.on_llm_end \"No\" stop 23+1 by m",
        "calc.on_agent_finish {\"output\":\"No\"}",
        "calc.on_chain_end {\"output\":\"No\"}",
    ]);
}

#[tokio::test]
async fn a_last_turn_with_a_call_that_is_ignored_ends_too() {
    let server = server([Reply::text("Done.").call("c1", "subtract", &numbers(1, 2))]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .build();
    let runner = agent.prompt("?").unhandled_invalid_tool_call(UnhandledInvalidToolCall::Ignore);
    assert_eq!(runner.await.unwrap().output(), "Done.");
    callbacks.flush().await.unwrap();
    log.assert(&[
        "calc.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "calc.on_custom_event invalid_tool_call {\"tool\":\"subtract\",\"tool_call_id\":\"c1\",\"arguments\":\"{\\\"x\\\":1,\\\"y\\\":2}\",\"reason\":\"unknown_tool\"}",
        "  model.on_llm_end \"Done.\" subtract({\"x\":1,\"y\":2}) c1 tool_calls 1+3 by m",
        "calc.on_agent_finish {\"output\":\"Done.\"}",
        "calc.on_chain_end {\"output\":\"Done.\"}",
    ]);
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
    log.assert(&[
        "calc.on_chain_start agent {\"input\":\"1-2?\"}",
        "  model.on_chat_model_start Human: 1-2?",
        "calc.on_custom_event invalid_tool_call {\"tool\":\"subtract\",\"tool_call_id\":\"c1\",\"arguments\":\"{\\\"x\\\":1,\\\"y\\\":2}\",\"reason\":\"unknown_tool\"}",
        "  model.on_llm_error model attempted to call unknown or disallowed tool `subtract`. Available tools: [\"add\"]. Allowed tools for this turn: [\"add\"] (_OTHER); until then: \"\"",
        "calc.on_chain_error model attempted to call unknown or disallowed tool `subtract`. Available tools: [\"add\"]. Allowed tools for this turn: [\"add\"] (_OTHER)",
    ]);
}

#[tokio::test]
async fn the_error_of_the_server_is_the_model_s_and_the_agent_s() {
    let fault = Fault::Status(500, "{\"error\": {\"message\": \"overloaded\"}}".to_owned());
    let server = Server::start(Script::joke().fault(fault)).unwrap();
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server)).add_hook(RigHook::new(&callbacks)).build();
    assert!(agent.prompt("?").await.is_err());
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_error ProviderResponseError: status 500 Internal Server Error: {\"error\": {\"message\": \"overloaded\"}} (_OTHER); until then: \"\"",
        "agent.on_chain_error ProviderResponseError: status 500 Internal Server Error: {\"error\": {\"message\": \"overloaded\"}} (_OTHER)",
    ]);
}

/// Does not let a tool run.
struct Denies(fn() -> DispatchAction);

impl AgentHook for Denies {
    async fn on_dispatch(&self, _: &HookContext, event: DispatchEvent<'_>) -> DispatchAction {
        match event.tool_name() {
            Some(_) => (self.0)(),
            None => DispatchAction::Proceed,
        }
    }
}

#[tokio::test]
async fn a_tool_that_a_later_hook_skips_is_an_error_of_its_run() {
    let server = server([Reply::default().call("c1", "add", &numbers(1, 2)), Reply::text("no")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .add_hook(Denies(|| DispatchAction::skip("not allowed")))
        .build();
    assert_eq!(agent.prompt("?").max_turns(3).await.unwrap().output(), "no");
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_end \"\" add({\"x\":1,\"y\":2}) c1 tool_calls 1+2 by m",
        "agent.on_agent_action add {\"x\":1,\"y\":2}",
        "  add.on_tool_start {\"x\":1,\"y\":2} c1",
        "  add.on_tool_error the tool was skipped: not allowed (skipped)",
        "  model.on_chat_model_start Human: ? | AI: add({\"x\":1,\"y\":2}) | Tool: not allowed",
        "  model.on_llm_end \"no\" stop 3+1 by m",
        "agent.on_agent_finish {\"output\":\"no\"}",
        "agent.on_chain_end {\"output\":\"no\"}",
    ]);
}

#[tokio::test]
async fn a_later_hook_that_stops_the_run_in_a_tool_cancels_the_tool_and_fails_the_agent() {
    let server = server([Reply::default().call("c1", "add", &numbers(1, 2))]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .add_hook(Denies(|| DispatchAction::stop("enough")))
        .build();
    assert!(agent.prompt("?").max_turns(3).await.is_err());
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_end \"\" add({\"x\":1,\"y\":2}) c1 tool_calls 1+2 by m",
        "agent.on_agent_action add {\"x\":1,\"y\":2}",
        "  add.on_tool_start {\"x\":1,\"y\":2} c1",
        "  add.on_tool_error cancelled (cancelled)",
        "agent.on_chain_error the run was cancelled: enough (_OTHER)",
    ]);
}

#[tokio::test]
async fn an_agent_goes_on_unobserved_after_a_shutdown() {
    let server = server([Reply::text("fine")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server)).add_hook(RigHook::new(&callbacks)).build();
    callbacks.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(agent.prompt("?").await.unwrap().output(), "fine");
    log.assert(&[]);
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
    log.assert(&[
        "agent.on_chain_start agent {}",
        "agent.on_chain_error the run was cancelled: not today (_OTHER)",
    ]);
}
