//! Starting runs.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use futures_util::future::join_all;
use serde_json::Map;

use super::CallbackManager;
use crate::dispatch::{RunNode, Trace, is_in_call};
use crate::model::error::EmitError;
use crate::model::event::{
    ChainStart, ChatModelStart, CustomEvent, EventKind, LlmStart, RetrieverStart, StartOrigin,
    ToolStart,
};
use crate::model::run_info::{MoreInfo, RunId, RunInfo, RunKind};
use crate::run::{ChainRun, LlmRun, RetrieverRun, Run, SendEvent, Start, ToolRun};

macro_rules! starts {
    ($($(#[$doc:meta])* $start:ident($event:ident) -> $run:ident of $kind:ident;)+) => {$(
        $(#[$doc])*
        pub fn $start(&self, start: $event) -> Start<$run> {
            let run = self.open(RunKind::$kind, &start.name, &start.origin);
            let chosen_id = start.origin.run_id;
            let time = start.origin.rare.as_ref().and_then(|origin| origin.time);
            Start::new(run, start.into(), chosen_id, time)
        }
    )+};
}

macro_rules! children {
    ($($run:ident),+) => {$(
        impl $run {
            /// The manager of what runs inside this run: with its inheritable handlers, tags and
            /// metadata, and with this run as the parent.
            #[must_use]
            pub fn child(&self) -> CallbackManager {
                CallbackManager::child_of(&self.run().setup, &self.run().node)
            }
        }
    )+};
}
children!(LlmRun, ChainRun, ToolRun, RetrieverRun);

impl CallbackManager {
    starts! {
        /// Starts a run of a text model.
        on_llm_start(LlmStart) -> LlmRun of Llm;
        /// Starts a run of a chat model.
        on_chat_model_start(ChatModelStart) -> LlmRun of ChatModel;
        /// Starts a chain's run.
        on_chain_start(ChainStart) -> ChainRun of Chain;
        /// Starts a tool's run.
        on_tool_start(ToolStart) -> ToolRun of Tool;
        /// Starts a retriever's run.
        on_retriever_start(RetrieverStart) -> RetrieverRun of Retriever;
    }

    /// Starts a run for each prompt, side by side. If an id is given, the first run gets it. The
    /// runs are in the order of the starts.
    pub async fn on_llm_starts(
        &self,
        starts: impl IntoIterator<Item = LlmStart>,
    ) -> Vec<Result<LlmRun, EmitError>> {
        let starts: Vec<LlmStart> = starts.into_iter().collect();
        let size = starts.len();
        let starts = starts.into_iter().map(|start| self.on_llm_start(start.with_batch_size(size)));
        join_all(starts).await
    }

    /// Starts a run for each conversation, as [`on_llm_starts`](Self::on_llm_starts) does for each
    /// prompt.
    pub async fn on_chat_model_starts(
        &self,
        starts: impl IntoIterator<Item = ChatModelStart>,
    ) -> Vec<Result<LlmRun, EmitError>> {
        let starts: Vec<ChatModelStart> = starts.into_iter().collect();
        let size = starts.len();
        let starts =
            starts.into_iter().map(|start| self.on_chat_model_start(start.with_batch_size(size)));
        join_all(starts).await
    }

    /// Starts a chain's run that groups other runs: [`child`](ChainRun::child) is their manager.
    pub fn group(&self, name: impl Into<Arc<str>>) -> Start<ChainRun> {
        self.on_chain_start(ChainStart::new(name, Map::new()))
    }

    /// Whether any handler of this manager wants events of this kind. It is for emitters that have
    /// work to do before they can emit, such as a hook of another framework. An emit that no handler
    /// wants is free, so most emitters need not ask.
    ///
    /// ```
    /// # use rappel_core::{CallbackManager, EventKind};
    /// assert!(!CallbackManager::default().wants(EventKind::LlmNewToken));
    /// ```
    #[must_use]
    pub fn wants(&self, kind: EventKind) -> bool {
        self.setup.wants(kind)
    }

    /// Sends an event of the application's own, with this level's tags and metadata and without a
    /// parent. It makes no run.
    ///
    /// Its id is the one that it was given, else the id of the run whose child this manager is,
    /// else a new one.
    pub fn on_custom_event(&self, event: CustomEvent) -> SendEvent {
        let parent = self.setup.parent.as_ref();
        let id = event.run_id.or(parent.map(|node| node.info.id()));
        let id = id.unwrap_or_else(|| self.setup.engine.new_run_id());
        let mut info = self.info(RunKind::None, &event.name, id);
        // It is inside what its manager's run is inside, but for handlers it has no parent.
        info.more = parent.map(|node| {
            let itself = Some(node.info.id()).filter(|parent| *parent != id);
            let above = node.info.parents().chain(itself).collect();
            Box::new(MoreInfo { above_parent: Some(above), ..MoreInfo::default() })
        });
        (info.parent_id, info.root_id) = (None, id);
        SendEvent::new(self.make_run(parent, info), event.into())
    }

    fn open(&self, kind: RunKind, name: &Arc<str>, origin: &StartOrigin) -> Arc<Run> {
        let setup = &self.setup;
        let id = origin.run_id.unwrap_or_else(|| setup.engine.new_run_id());
        let mut info = self.info(kind, name, id);
        if let Some(origin) = &origin.rare {
            if let Some((parent, root)) = origin.remote_parent {
                (info.parent_id, info.root_id) = (Some(parent), root);
                let above_parent = (parent != root).then(|| Arc::from([root]));
                let more = MoreInfo { above_parent, remote_parent: true, ..MoreInfo::default() };
                info.more = Some(Box::new(more));
            }
            if origin.traceparent.is_some() {
                info.more().traceparent = origin.traceparent;
            }
        }
        let attached = !setup.detached && !info.has_remote_parent();
        let parent = setup.parent.as_ref().filter(|parent| attached && !parent.has_ended());
        self.make_run(parent, info)
    }

    /// Makes a run under `parent`. Without one, and inside a handler's call, it is detached.
    fn make_run(&self, parent: Option<&Arc<RunNode>>, info: RunInfo) -> Arc<Run> {
        let setup = &self.setup;
        let (info, reporter, nested) = (Arc::new(info), setup.reporter.clone(), is_in_call());
        let node = match parent {
            Some(parent) if !nested => RunNode::under(parent, info, reporter),
            _ => RunNode::new(Arc::new(Trace::new()), info, reporter, nested),
        };
        Run::new(node, setup.clone())
    }

    fn info(&self, kind: RunKind, name: &Arc<str>, id: RunId) -> RunInfo {
        let setup = &self.setup;
        let parent = setup.parent.as_ref().map(|node| &node.info);
        RunInfo {
            id,
            parent_id: parent.map(|info| info.id()),
            root_id: parent.map_or(id, |info| info.root_id()),
            kind,
            name: name.clone(),
            tags: setup.tags.iter().map(|tag| tag.item.clone()).collect(),
            metadata: setup.metadata.clone(),
            more: parent.and_then(|info| info.above_child()).map(|above| {
                Box::new(MoreInfo { above_parent: Some(above), ..MoreInfo::default() })
            }),
        }
    }
}
