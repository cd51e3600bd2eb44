//! Runs of rig that are dropped.

use std::future::pending;
use std::sync::Arc;

use futures_util::StreamExt;
use rappel_rig::RigHook;
use rappel_tests::openai_server::{Reply, Script, Server};
use rig_agent::AgentBuilder;
use rig_agent::agent::MultiTurnStreamItem;
use rig_core::message::ToolName;
use rig_core::streaming::{Item, StreamEvent};
use rig_core::tool::DynamicTool;
use serde_json::json;
use tokio::sync::Notify;

use crate::scene::{logged, openai, server};

#[tokio::test]
async fn a_stream_that_is_dropped_ends_the_model_and_then_the_agent_as_cancelled() {
    let server = Server::start(Script::tokens(["a", "b", "c", "d"]).gated()).unwrap();
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server)).add_hook(RigHook::new(&callbacks)).build();
    let mut stream = agent.prompt("?").stream();
    // The role, and two tokens.
    server.release(3);
    let mut texts = 0;
    while texts < 2 {
        let item = stream.next().await.unwrap().unwrap();
        if let MultiTurnStreamItem::StreamAssistantItem(Item::Event(StreamEvent::Text { .. })) =
            item
        {
            texts += 1;
        }
    }
    drop(stream);
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_new_token \"a\"",
        "  model.on_llm_new_token \"b\"",
        "  model.on_llm_error cancelled (cancelled); until then: \"ab\"",
        "agent.on_chain_error cancelled (cancelled)",
    ]);
}

/// A tool that says when it has begun and never ends.
fn stuck(begun: &Arc<Notify>) -> DynamicTool {
    let begun = begun.clone();
    DynamicTool::new(ToolName::new("stuck").unwrap(), "Never ends", json!({}), move |_| {
        begun.notify_one();
        Box::pin(pending())
    })
}

#[tokio::test]
async fn an_agent_that_is_dropped_in_a_tool_ends_the_tool_first() {
    let server = server([Reply::default().call("c1", "stuck", &json!({}))]);
    let (callbacks, log) = logged();
    let begun = Arc::new(Notify::new());
    let agent = AgentBuilder::new(openai(&server))
        .dynamic_tool(stuck(&begun))
        .add_hook(RigHook::new(&callbacks))
        .build();
    tokio::select! {
        biased;
        _ = agent.prompt("?").run() => panic!("the tool never ends"),
        () = begun.notified() => {}
    }
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  model.on_chat_model_start Human: ?",
        "  model.on_llm_end \"\" stuck({}) c1 tool_calls 1+2 by m",
        "agent.on_agent_action stuck {}",
        "  stuck.on_tool_start {} c1",
        "  stuck.on_tool_error cancelled (cancelled)",
        "agent.on_chain_error cancelled (cancelled)",
    ]);
}
