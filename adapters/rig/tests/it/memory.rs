//! Conversation memory.

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
    log.assert(&[]);
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
    log.assert(&[]);
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
    log.assert(&[]);
}
