//! Conversation memory.

use std::sync::{Arc, Mutex};

use rappel_core::{Event, EventContext, EventKind, HandlerResult, handler_fn};
use rappel_rig::RigHook;
use rappel_tests::openai_server::Reply;
use rig_agent::AgentBuilder;
use rig_core::memory::InMemoryConversationMemory;
use rig_core::test_utils::{AppendFailingMemory, FailingMemory};

use crate::scene::{logged, openai, server};

#[tokio::test]
async fn memory_is_loaded_and_appended_to_under_the_agent() {
    let server = server([Reply::text("first"), Reply::text("second")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .memory(InMemoryConversationMemory::new())
        .conversation("c")
        .add_hook(RigHook::new(&callbacks))
        .build();
    agent.prompt("1").await.unwrap();
    agent.prompt("2").await.unwrap();
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"1\"}",
        "  memory.on_chain_start {\"op\":\"load\",\"conversation\":\"c\"}",
        "  memory.on_chain_end {\"messages\":0}",
        "  model.on_chat_model_start Human: 1",
        "  model.on_llm_end \"first\" stop 1+1 by m",
        "  memory.on_chain_start {\"op\":\"append\",\"conversation\":\"c\",\"messages\":2}",
        "  memory.on_chain_end {}",
        "agent.on_agent_finish {\"output\":\"first\"}",
        "agent.on_chain_end {\"output\":\"first\"}",
        "agent.on_chain_start agent {\"input\":\"2\"}",
        "  memory.on_chain_start {\"op\":\"load\",\"conversation\":\"c\"}",
        "  memory.on_chain_end {\"messages\":2}",
        "  model.on_chat_model_start Human: 1 | AI: first | Human: 2",
        "  model.on_llm_end \"second\" stop 3+1 by m",
        "  memory.on_chain_start {\"op\":\"append\",\"conversation\":\"c\",\"messages\":2}",
        "  memory.on_chain_end {}",
        "agent.on_agent_finish {\"output\":\"second\"}",
        "agent.on_chain_end {\"output\":\"second\"}",
    ]);
}

#[tokio::test]
async fn a_memory_that_cannot_be_loaded_fails_its_run_and_the_agent() {
    let server = server([Reply::text("never asked")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .memory(FailingMemory::new("no disk"))
        .conversation("c")
        .add_hook(RigHook::new(&callbacks))
        .build();
    assert!(agent.prompt("1").await.is_err());
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {}",
        "  memory.on_chain_start {\"op\":\"load\",\"conversation\":\"c\"}",
        "  memory.on_chain_error Memory backend error: no disk (memory_backend)",
        "agent.on_chain_error Memory backend error: Memory backend error: no disk (_OTHER)",
    ]);
}

#[tokio::test]
async fn a_memory_that_cannot_be_appended_to_fails_its_run_only() {
    let server = server([Reply::text("yes")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .memory(AppendFailingMemory::new("disk full"))
        .conversation("c")
        .add_hook(RigHook::new(&callbacks))
        .build();
    assert_eq!(agent.prompt("1").await.unwrap().output(), "yes");
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"1\"}",
        "  memory.on_chain_start {\"op\":\"load\",\"conversation\":\"c\"}",
        "  memory.on_chain_end {\"messages\":0}",
        "  model.on_chat_model_start Human: 1",
        "  model.on_llm_end \"yes\" stop 1+1 by m",
        "  memory.on_chain_start {\"op\":\"append\",\"conversation\":\"c\",\"messages\":2}",
        "  memory.on_chain_error Memory backend error: disk full (memory_backend)",
        "agent.on_agent_finish {\"output\":\"yes\"}",
        "agent.on_chain_end {\"output\":\"yes\"}",
    ]);
}

#[tokio::test]
async fn the_agent_starts_when_rig_begins_to_load_the_memory() {
    let server = server([Reply::text("yes")]);
    let starts = Arc::new(Mutex::new(Vec::new()));
    let seen = starts.clone();
    let times = handler_fn(move |event: &Event, cx: &EventContext| -> HandlerResult {
        if event.kind() == EventKind::ChainStart {
            seen.lock().unwrap().push((cx.name().to_owned(), cx.time().unwrap()));
        }
        Ok(())
    });
    let (callbacks, log) = logged();
    let callbacks = callbacks.with_handler(times);
    let agent = AgentBuilder::new(openai(&server))
        .memory(InMemoryConversationMemory::new())
        .conversation("c")
        .add_hook(RigHook::new(&callbacks))
        .build();
    agent.prompt("1").await.unwrap();
    callbacks.flush().await.unwrap();
    let starts = starts.lock().unwrap();
    let [agent, load, append] = starts.as_slice() else { panic!("{starts:?}") };
    assert_eq!([&*agent.0, &*load.0, &*append.0], ["agent", "memory", "memory"]);
    assert_eq!(agent.1, load.1);
    assert!(load.1 < append.1);
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"1\"}",
        "  memory.on_chain_start {\"op\":\"load\",\"conversation\":\"c\"}",
        "  memory.on_chain_end {\"messages\":0}",
        "  model.on_chat_model_start Human: 1",
        "  model.on_llm_end \"yes\" stop 1+1 by m",
        "  memory.on_chain_start {\"op\":\"append\",\"conversation\":\"c\",\"messages\":2}",
        "  memory.on_chain_end {}",
        "agent.on_agent_finish {\"output\":\"yes\"}",
        "agent.on_chain_end {\"output\":\"yes\"}",
    ]);
}
