//! Streamed agents: tokens, reasoning, pieces of tool calls.

use rappel_core::{
    CallbackHandler, CallbackManager, EventContext, EventKind, HandlerResult, Interest, ToolEnd,
};
use rappel_rig::RigHook;
use rappel_tests::openai_server::{Fault, Reply, Script, Server};
use rappel_tokio::Tokio;
use rig_agent::AgentBuilder;
use rig_agent::agent::{AgentHook, StepEventKind};

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
    log.assert(&[]);
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

struct Tools;

impl CallbackHandler for Tools {
    fn on_tool_end(&mut self, _: &ToolEnd, _: &EventContext) -> HandlerResult {
        Ok(())
    }

    fn interest(&self) -> Interest {
        Interest::only(EventKind::ToolEnd)
    }
}

#[tokio::test]
async fn rig_is_asked_only_for_what_a_handler_wants() {
    let nobody = RigHook::new(&CallbackManager::new(Tokio::current()));
    assert!(!nobody.observes(StepEventKind::RunStart));
    let tools = RigHook::new(&CallbackManager::new(Tokio::current()).with_handler(Tools));
    assert!(tools.observes(StepEventKind::RunStart));
    assert!(tools.observes(StepEventKind::ToolDispatch));
    assert!(!tools.observes(StepEventKind::TextDelta));
    assert!(!tools.observes(StepEventKind::RetrieveDispatch));
    assert!(!tools.observes(StepEventKind::MemoryDispatch));
    let (callbacks, _log) = logged();
    let all = RigHook::new(&callbacks);
    assert!(all.observes(StepEventKind::TextDelta));
    assert!(all.observes(StepEventKind::RetrieveDispatch));
    assert!(all.observes(StepEventKind::MemoryDispatch));
}
