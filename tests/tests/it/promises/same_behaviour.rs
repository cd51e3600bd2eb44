//! 11. Same behaviour on every runtime: the same suite, the same logs.
//!
//! All of this suite runs on each. Here is one scene whose log is written down.

use rappel_tests::on_every_runtime;

use super::*;

async fn scene(callbacks: &CallbackManager) {
    let chain = chain(callbacks, "chain").await;
    let children = chain.child("inside");
    let model = children
        .on_chat_model_start(ChatModelStart::new("model", [Message::human("Why?")]))
        .await
        .unwrap();
    for token in ["Be", "cause"] {
        model.on_llm_new_token(token).await.unwrap();
    }
    model.end(LlmResult::from_text("Because")).await.unwrap();
    let tool = children.on_tool_start(ToolStart::new("tool", "input")).await.unwrap();
    tool.error("broken").await.unwrap();
    let retriever = children
        .on_retriever_start(RetrieverStart::new("retriever", "query"))
        .await
        .unwrap();
    chain.on_text("a").await.unwrap();
    drop(retriever);
    callbacks.flush().await;
    chain.end(json!("done")).await.unwrap();
    callbacks.flush().await;
}

const SCENE: [&str; 12] = [
    "chain: chain_start: 0",
    "model: chat_model_start: Human: Why?",
    "model: token: Be",
    "model: token: cause",
    "model: llm_end: Because",
    "tool: tool_start: input",
    "tool: tool_error: failed",
    "retriever: retriever_start: query",
    "chain: text: a",
    "retriever: retriever_error: cancelled",
    "chain: chain_end: \"done\"",
    "",
];

on_every_runtime! {
    async fn the_log_of_a_scene(rt) {
        let watched = Watched::new(&rt);
        scene(&watched.callbacks).await;
        for (name, log) in &watched.logs {
            // Where nobody waits for it, an event of one run may pass one of another.
            let (mut seen, mut expected) = (log.lines(), SCENE[..11].to_vec());
            if name.contains("narrow") || name.contains("wide") || name.contains("background") {
                seen.sort();
                expected.sort_unstable();
            }
            assert_eq!(seen, expected, "{name}");
        }
    }
}
