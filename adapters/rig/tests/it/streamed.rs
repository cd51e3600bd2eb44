//! Streamed agents: tokens, reasoning, pieces of tool calls.

use rappel_rig::RigHook;
use rappel_tests::openai_server::{Fault, Reply, Script, Server};
use rig_agent::AgentBuilder;
use rig_agent::agent::{AgentHook, HookContext, InvalidToolCallAction, InvalidToolCallContext};
use rig_agent::run::UnhandledInvalidToolCall;

use crate::scene::{Add, drain, logged, numbers, openai, server};

#[tokio::test]
async fn a_streamed_agent_with_reasoning_and_a_tool() {
    let server = server([
        Reply::default().reasoning("I add.").call("c1", "add", &numbers(1, 2)).call(
            "c2",
            "add",
            &numbers(3, 4),
        ),
        Reply::text("It is 3"),
    ]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .build();
    assert_eq!(drain(agent.prompt("1+2?").max_turns(3).stream()).await, None);
    callbacks.flush().await.unwrap();
    log.assert(&[
        "calc.on_chain_start agent {\"input\":\"1+2?\"}",
        "  model.on_chat_model_start Human: 1+2?",
        "  model.on_llm_new_token thinks \"I \"",
        "  model.on_llm_new_token thinks \"add.\"",
        "  model.on_llm_new_token #0 add({\"x\":1,\"y\":2})",
        "  model.on_llm_new_token #1 add({\"x\":3,\"y\":4})",
        "  model.on_llm_end \"\" thought \"I add.\" add({\"x\":1,\"y\":2}) c1 add({\"x\":3,\"y\":4}) c2 tool_calls 1+6 by m",
        "calc.on_agent_action add {\"x\":1,\"y\":2}",
        "  add.on_tool_start {\"x\":1,\"y\":2} c1",
        "  add.on_tool_end \"3\" c1",
        "calc.on_agent_action add {\"x\":3,\"y\":4}",
        "  add.on_tool_start {\"x\":3,\"y\":4} c2",
        "  add.on_tool_end \"7\" c2",
        "  model.on_chat_model_start Human: 1+2? | AI: add({\"x\":1,\"y\":2})add({\"x\":3,\"y\":4}) | Tool: 3 | Tool: 7",
        "  model.on_llm_new_token \"It \"",
        "  model.on_llm_new_token \"is \"",
        "  model.on_llm_new_token \"3\"",
        "  model.on_llm_end \"It is 3\" stop 3+3 by m",
        "calc.on_agent_finish {\"output\":\"It is 3\"}",
        "calc.on_chain_end {\"output\":\"It is 3\"}",
    ]);
}

#[tokio::test]
async fn a_streamed_last_turn_with_a_call_that_is_ignored_ends_too() {
    let server = server([Reply::text("All done").call("c1", "subtract", &numbers(1, 2))]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .build();
    let runner = agent.prompt("?").unhandled_invalid_tool_call(UnhandledInvalidToolCall::Ignore);
    assert_eq!(drain(runner.stream()).await, None);
    callbacks.flush().await.unwrap();
    log.assert(&[
        "calc.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_new_token \"All \"",
        "  model.on_llm_new_token \"done\"",
        "calc.on_custom_event invalid_tool_call {\"tool\":\"subtract\",\"tool_call_id\":\"c1\",\"arguments\":\"{\\\"x\\\":1,\\\"y\\\":2}\",\"reason\":\"unknown_tool\"}",
        "  model.on_llm_end \"All done\" tool_calls 1+4 by m",
        "calc.on_agent_finish {\"output\":\"All done\"}",
        "calc.on_chain_end {\"output\":\"All done\"}",
    ]);
}

/// Corrects the name of a tool.
struct Repairs;

impl AgentHook for Repairs {
    async fn on_invalid_tool_call(
        &self,
        _: &HookContext,
        _: &InvalidToolCallContext,
    ) -> Option<InvalidToolCallAction> {
        Some(InvalidToolCallAction::repair("add"))
    }
}

#[tokio::test]
async fn a_turn_whose_call_a_hook_repairs_ends_before_the_tool_starts() {
    let server =
        server([Reply::text("I sum.").call("c1", "sum", &numbers(1, 2)), Reply::text("3")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .tool(Add)
        .add_hook(RigHook::new(&callbacks))
        .add_hook(Repairs)
        .build();
    assert_eq!(drain(agent.prompt("1+2?").max_turns(3).stream()).await, None);
    callbacks.flush().await.unwrap();
    log.assert(&[
        "calc.on_chain_start agent {\"input\":\"1+2?\"}",
        "  model.on_chat_model_start Human: 1+2?",
        "  model.on_llm_new_token \"I \"",
        "  model.on_llm_new_token \"sum.\"",
        "calc.on_custom_event invalid_tool_call {\"tool\":\"sum\",\"tool_call_id\":\"c1\",\"arguments\":\"{\\\"x\\\":1,\\\"y\\\":2}\",\"reason\":\"unknown_tool\"}",
        "  model.on_llm_new_token #0 add({\"x\":1,\"y\":2})",
        "  model.on_llm_end \"I sum.\" sum({\"x\":1,\"y\":2}) c1",
        "calc.on_agent_action add {\"x\":1,\"y\":2}",
        "  add.on_tool_start {\"x\":1,\"y\":2} c1",
        "  add.on_tool_end \"3\" c1",
        "  model.on_chat_model_start Human: 1+2? | AI: I sum.add({\"x\":1,\"y\":2}) | Tool: 3",
        "  model.on_llm_new_token \"3\"",
        "  model.on_llm_end \"3\" stop 4+1 by m",
        "calc.on_agent_finish {\"output\":\"3\"}",
        "calc.on_chain_end {\"output\":\"3\"}",
    ]);
}

#[tokio::test]
async fn an_error_in_mid_stream_has_the_answer_until_then() {
    let script = Script::tokens(["a", "b", "c", "d"]).fault(Fault::ErrorEvent(3));
    let server = Server::start(script).unwrap();
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server)).add_hook(RigHook::new(&callbacks)).build();
    let error = drain(agent.prompt("?").stream()).await.unwrap();
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_new_token \"a\"",
        "  model.on_llm_new_token \"b\"",
        &format!("  model.on_llm_error {error} (_OTHER); until then: \"ab\""),
        &format!("agent.on_chain_error {error} (_OTHER)"),
    ]);
}
