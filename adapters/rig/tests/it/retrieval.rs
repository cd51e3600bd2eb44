//! Indices: of tools, and of documents for a prompt.

use rappel_core::Value;
use rappel_rig::RigHook;
use rappel_tests::openai_server::Reply;
use rig_agent::AgentBuilder;
use rig_agent::tool::ToolSet;
use rig_core::vector_store::request::{Filter, VectorSearchRequest};
use rig_core::vector_store::{
    VectorSearchIdResult, VectorSearchResult, VectorStoreError, VectorStoreIndex,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::scene::{Add, logged, numbers, openai, server};

/// Finds the tool `add` and a document, or cannot be reached.
struct Index {
    is_down: bool,
}

impl VectorStoreIndex for Index {
    type Filter = Filter<Value>;

    async fn top_n<T: DeserializeOwned + Send>(
        &self,
        _: VectorSearchRequest<Self::Filter>,
    ) -> Result<Vec<VectorSearchResult<T>>, VectorStoreError> {
        if self.is_down {
            return Err(VectorStoreError::DatastoreError("it is down".into()));
        }
        let document = serde_json::from_value(json!("The heron eats fish."))?;
        Ok(vec![VectorSearchResult { score: 0.5, id: "birds".to_owned(), document }])
    }

    async fn top_n_ids(
        &self,
        _: VectorSearchRequest<Self::Filter>,
    ) -> Result<Vec<VectorSearchIdResult>, VectorStoreError> {
        match self.is_down {
            true => Err(VectorStoreError::DatastoreError("it is down".into())),
            false => Ok(vec![VectorSearchIdResult { score: 0.9, id: "add".to_owned() }]),
        }
    }
}

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
    log.assert(&[]);
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
    log.assert(&[]);
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
    log.assert(&[]);
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
    log.assert(&[]);
}
