//! Promise 12: the same behaviour on every runtime: the same suite, the same logs.
//!
//! All of this suite runs on each. Here is one scene whose log is written down.

use rappel_tests::on_every_runtime;

use super::*;

async fn scene(callbacks: &CallbackManager) {
    let mut chain = chain(callbacks, "chain").await;
    let children = chain.child().with_tags(["inside"]);
    let start = ChatModelStart::new("model", [Message::human("Why?")]);
    let mut model = children.on_chat_model_start(start).await.unwrap();
    for token in ["Be", "cause"] {
        model.on_llm_new_token(token).await.unwrap();
    }
    model.end("Because").await.unwrap();
    tool(&children, "tool").await.fail("broken").await.unwrap();
    let start = RetrieverStart::new("retriever", "query");
    let retriever = children.on_retriever_start(start).await.unwrap();
    chain.on_text("a").await.unwrap();
    drop(retriever);
    chain.end(json!("done")).await.unwrap();
    callbacks.flush().await.unwrap();
}

const SCENE: [&str; 11] = [
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
];

on_every_runtime! {
    async fn the_log_of_a_scene_is_the_same_in_every_delivery(rt) {
        let watched = Watched::new(&rt);
        scene(&watched.callbacks).await;
        watched.assert_all_saw(&SCENE);
    }
}
