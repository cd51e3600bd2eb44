//! Indices: of tools, and of documents for a prompt.

use rappel_rig::RigHook;
use rappel_tests::openai_server::Reply;
use rig_agent::AgentBuilder;
use rig_agent::tool::ToolSet;

use crate::scene::{Add, Index, logged, numbers, openai, server};

fn tools() -> ToolSet {
    let mut tools = ToolSet::default();
    tools.add_tool(Add);
    tools
}

#[tokio::test]
async fn a_retrieval_of_tools_is_a_retriever_s_run_in_each_turn() {
    let server = server([Reply::default().call("c1", "add", &numbers(1, 2)), Reply::text("3")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .retrieved_tools(1, Index { is_down: false }, tools())
        .add_hook(RigHook::new(&callbacks))
        .build();
    agent.prompt("1+2?").max_turns(3).await.unwrap();
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"1+2?\"}",
        "  retriever.on_retriever_start 1+2?",
        "  retriever.on_retriever_end add:",
        "  model.on_chat_model_start Human: 1+2?",
        "  model.on_llm_end \"\" add({\"x\":1,\"y\":2}) c1 tool_calls 1+2 by m",
        "agent.on_agent_action add {\"x\":1,\"y\":2}",
        "  add.on_tool_start {\"x\":1,\"y\":2} c1",
        "  add.on_tool_end \"3\" c1",
        "  retriever.on_retriever_start 1+2?",
        "  retriever.on_retriever_end add:",
        "  model.on_chat_model_start Human: 1+2? | AI: add({\"x\":1,\"y\":2}) | Tool: 3",
        "  model.on_llm_end \"3\" stop 2+1 by m",
        "agent.on_agent_finish {\"output\":\"3\"}",
        "agent.on_chain_end {\"output\":\"3\"}",
    ]);
}

#[tokio::test]
async fn an_index_that_cannot_be_reached_fails_the_retriever_and_the_agent() {
    let server = server([Reply::text("never asked")]);
    let (callbacks, log) = logged();
    let agent = AgentBuilder::new(openai(&server))
        .retrieved_tools(1, Index { is_down: true }, tools())
        .add_hook(RigHook::new(&callbacks))
        .build();
    assert!(agent.prompt("?").await.is_err());
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  retriever.on_retriever_start ?",
        "  retriever.on_retriever_error Datastore error: it is down (provider)",
        "agent.on_chain_error RequestError: Failed to get tool definitions: Datastore error: it is down (_OTHER)",
    ]);
}

#[tokio::test]
async fn a_retrieval_for_the_prompt_is_a_retriever_s_run_under_the_agent() {
    let server = server([Reply::text("Fish")]);
    let (callbacks, log) = logged();
    let hook = RigHook::new(&callbacks);
    let agent = AgentBuilder::new(openai(&server))
        .name("ornithologist")
        .add_hook(hook.clone())
        .dynamic_context(1, hook.index("library", Index { is_down: false }))
        .build();
    agent.prompt("What does it eat?").await.unwrap();
    callbacks.flush().await.unwrap();
    log.assert(&[
        "ornithologist.on_chain_start agent {\"input\":\"What does it eat?\"}",
        "  library.on_retriever_start What does it eat?",
        "  library.on_retriever_end birds:The heron eats fish.",
        "  model.on_chat_model_start Human: <file id: birds>\n\"The heron eats fish.\"\n</file>\n | Human: What does it eat?",
        "  model.on_llm_end \"Fish\" stop 0+1 by m",
        "ornithologist.on_agent_finish {\"output\":\"Fish\"}",
        "ornithologist.on_chain_end {\"output\":\"Fish\"}",
    ]);
}

#[tokio::test]
async fn a_retrieval_for_the_prompt_that_fails_is_an_error_of_its_run_and_of_the_agent() {
    let server = server([Reply::text("never asked")]);
    let (callbacks, log) = logged();
    let hook = RigHook::new(&callbacks);
    let agent = AgentBuilder::new(openai(&server))
        .add_hook(hook.clone())
        .dynamic_context(1, hook.index("library", Index { is_down: true }))
        .build();
    assert!(agent.prompt("?").await.is_err());
    callbacks.flush().await.unwrap();
    log.assert(&[
        "agent.on_chain_start agent {\"input\":\"?\"}",
        "  library.on_retriever_start ?",
        "  library.on_retriever_error Datastore error: it is down (provider)",
        "agent.on_chain_error the run was cancelled: failed to retrieve dynamic context: Datastore error: it is down (_OTHER)",
    ]);
}
