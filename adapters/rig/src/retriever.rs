//! Retrievals of `dynamic_context`, which rig does not show to hooks.

use std::fmt;
use std::sync::Arc;

use rappel_core::{CallbackManager, Document, InRun, RetrieverStart, Value};
use rig_core::error::ErrorReport;
use rig_core::vector_store::request::VectorSearchRequest;
use rig_core::vector_store::{
    VectorSearchIdResult, VectorSearchResult, VectorStoreError, VectorStoreIndex,
};
use serde::de::DeserializeOwned;

use crate::RigHook;
use crate::convert;
use crate::open::{self, Asker};

/// An index that emits a retriever's run for each retrieval: see [`RigHook::index`].
pub struct ObservedIndex<I> {
    index: I,
    name: Arc<str>,
    hook: RigHook,
}

impl RigHook {
    /// Wraps an index for [`AgentBuilder::dynamic_context`](rig_agent::AgentBuilder::dynamic_context).
    /// Each retrieval is then a retriever's run with this name, under the run of the agent that asks.
    ///
    /// The agent needs this hook. Add the hook before you call `dynamic_context`. Rig does not show
    /// these retrievals to a hook, so without the wrapper they have no events. Retrievals of
    /// `retrieved_tools` have events without it, and no second ones with it.
    ///
    /// If agents of different traces ask the same query at the same time, the run is a root run. If no
    /// agent asks, the run is a child of the current run, or a root run if there is none.
    pub fn index<I: VectorStoreIndex>(
        &self,
        name: impl Into<Arc<str>>,
        index: I,
    ) -> ObservedIndex<I> {
        ObservedIndex { index, name: name.into(), hook: self.clone() }
    }
}

impl<I> ObservedIndex<I> {
    fn manager(&self, query: &str) -> CallbackManager {
        let callbacks = &self.hook.0.callbacks;
        match open::asker_of(query) {
            Asker::Run(children) => children.merge(callbacks),
            Asker::Unknown => callbacks.clone(),
            Asker::None => {
                CallbackManager::current().map_or(callbacks.clone(), |here| here.merge(callbacks))
            }
        }
    }
}

impl<I: VectorStoreIndex> VectorStoreIndex for ObservedIndex<I> {
    type Filter = I::Filter;

    async fn top_n<T: DeserializeOwned + Send>(
        &self,
        request: VectorSearchRequest<Self::Filter>,
    ) -> Result<Vec<VectorSearchResult<T>>, VectorStoreError> {
        let start = RetrieverStart::new(self.name.clone(), request.query());
        let (run, _) = self.manager(request.query()).on_retriever_start(start).keep().await;
        let found = self.index.top_n::<Value>(request).in_run(&run).await;
        // A handler's failure is reported by the dispatcher, and steers nothing here.
        let _ = match &found {
            Ok(found) => {
                let documents =
                    found.iter().map(|one| convert::document(one.score, &one.id, &one.document));
                run.end(documents.collect::<Vec<Document>>()).await
            }
            // As rig reports the other retrievals' errors.
            Err(error) => run.fail(convert::error(&ErrorReport::from(error))).await,
        };
        let mut typed = Vec::new();
        for VectorSearchResult { score, id, document } in found? {
            let document = serde_json::from_value(document)?;
            typed.push(VectorSearchResult { score, id, document });
        }
        Ok(typed)
    }

    async fn top_n_ids(
        &self,
        request: VectorSearchRequest<Self::Filter>,
    ) -> Result<Vec<VectorSearchIdResult>, VectorStoreError> {
        self.index.top_n_ids(request).await
    }
}

impl<I> fmt::Debug for ObservedIndex<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedIndex").field("name", &self.name).finish_non_exhaustive()
    }
}
