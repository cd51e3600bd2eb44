//! Streamed agents: tokens, reasoning, pieces of tool calls.

use rappel_rig::RigHook;
use rappel_tests::openai_server::{Fault, Reply, Script, Server};
use rig_agent::AgentBuilder;

use crate::scene::{Add, drain, logged, numbers, openai, server};

#[tokio::test]
async fn a_streamed_agent_with_reasoning_and_a_tool() {
    let server = server([
        Reply::default().reasoning("I add.").call("c1", "add", &numbers(1, 2)),
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
        "  model.on_llm_end \"\" thought \"I add.\" add({\"x\":1,\"y\":2}) c1 tool_calls 1+4 by m",
        "calc.on_agent_action add {\"x\":1,\"y\":2}",
        "  add.on_tool_start {\"x\":1,\"y\":2} c1",
        "  add.on_tool_end \"3\" c1",
        "  model.on_chat_model_start Human: 1+2? | AI: add({\"x\":1,\"y\":2}) | Tool: 3",
        "  model.on_llm_new_token \"It \"",
        "  model.on_llm_new_token \"is \"",
        "  model.on_llm_new_token \"3\"",
        "  model.on_llm_end \"It is 3\" stop 2+3 by m",
        "calc.on_agent_finish {\"output\":\"It is 3\"}",
        "calc.on_chain_end {\"output\":\"It is 3\"}",
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
        &format!("  model.on_llm_error {error}; until then: \"ab\""),
        &format!("agent.on_chain_error {error}"),
    ]);
}
