//! The public runs: one type for each kind, so that a run takes the events that belong to it, and no others.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use serde_json::Value;

use crate::event::{
    AgentAction, AgentFinish, ChainEnd, CustomEvent, Document, Event, EventKind, LlmEnd, LlmNewToken, RetrieverEnd, Retry, Text, ToolEnd,
};
use crate::manager::CallbackManager;
use crate::result::LlmResult;
use crate::run_info::{RunId, RunInfo};
use crate::scope::{Emit, End, OwnedEmit, Scope};

macro_rules! run {
    ($(#[$doc:meta])* $run:ident) => {
        $(#[$doc])*
        ///
        /// It ends exactly once: by `end`, by `error`, or, dropped before that, as [`RunError::Cancelled`](crate::RunError::Cancelled);
        /// after an emit that came back with [`EmitError::Raised`](crate::EmitError::Raised), as
        /// [`RunError::Stopped`](crate::RunError::Stopped). A drop's event is delivered by the manager's spawner;
        /// [`flush`](CallbackManager::flush) waits for it.
        #[must_use = "a run that is dropped ends as cancelled"]
        pub struct $run(Scope);

        impl $run {
            /// What the run's events tell of it.
            #[must_use]
            pub fn info(&self) -> &RunInfo {
                self.0.info()
            }

            /// The run's id.
            #[must_use]
            pub fn id(&self) -> RunId {
                self.0.info().id()
            }

            /// Tells that something failed and will be tried again.
            pub fn on_retry(&self, retry: Retry) -> Emit<'_> {
                self.0.emit(EventKind::Retry, || Event::from(retry))
            }

            /// Ends the run in an error: any error, or text. A [`RunError`](crate::RunError) is taken as it is.
            pub fn error(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> End {
                self.0.error(error)
            }
        }

        impl From<Scope> for $run {
            fn from(scope: Scope) -> Self {
                Self(scope)
            }
        }

        impl fmt::Debug for $run {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($run)).field("info", self.info()).finish_non_exhaustive()
            }
        }
    };
}

/// Runs that a stream can be.
macro_rules! streamed {
    ($($run:ident),+) => {$(
        impl $run {
            pub(crate) fn into_emit(self) -> OwnedEmit {
                OwnedEmit::new(self.0)
            }
        }
    )+};
}
streamed!(LlmRun, ChainRun);

/// What code can be inside: see [`InRun::in_run`](crate::InRun::in_run).
pub trait Parent {
    /// The manager of what runs inside it.
    fn children(&self) -> CallbackManager;
}

/// A manager of a run's children stands for that run; any other one for no run.
impl<R> Parent for CallbackManager<R> {
    fn children(&self) -> CallbackManager {
        self.clone().erase()
    }
}

macro_rules! parent {
    ($run:ident) => {
        impl $run {
            /// The manager of what runs inside this run: with its inheritable handlers, tags and metadata, this run as parent, and `tag`, or
            /// `None`, for that level only.
            #[must_use]
            pub fn child<'a>(&self, tag: impl Into<Option<&'a str>>) -> CallbackManager {
                CallbackManager::child_of(self.0.facts()).with_tags(tag.into())
            }

            /// Sends an event of the application's own, under this run.
            pub fn on_custom_event(&self, event: CustomEvent) -> Emit<'_> {
                self.0.emit(EventKind::CustomEvent, || Event::from(event))
            }
        }

        impl Parent for $run {
            fn children(&self) -> CallbackManager {
                self.child(None)
            }
        }
    };
}

run! {
    /// A model's run, of a text or of a chat model.
    LlmRun
}

impl LlmRun {
    /// Tells of a token: text, or the chunk that it came in. Emit it before you hand the token on.
    #[inline(always)]
    pub fn on_llm_new_token(&self, token: impl Into<LlmNewToken>) -> Emit<'_> {
        self.0.emit(EventKind::LlmNewToken, || token.into())
    }

    /// Ends the run with what the model made.
    pub fn end(self, result: LlmResult) -> End {
        self.0.end(LlmEnd::new(result).into())
    }
}

run! {
    /// A chain's run; an agent's too.
    ChainRun
}
parent!(ChainRun);

impl ChainRun {
    /// Tells of some text.
    pub fn on_text(&self, text: impl Into<Text>) -> Emit<'_> {
        self.0.emit(EventKind::Text, || Event::from(text.into()))
    }

    /// Tells that an agent chose a tool.
    pub fn on_agent_action(&self, action: AgentAction) -> Emit<'_> {
        self.0.emit(EventKind::AgentAction, || Event::from(action))
    }

    /// Tells that an agent is done. The run goes on until it is ended.
    pub fn on_agent_finish(&self, finish: AgentFinish) -> Emit<'_> {
        self.0.emit(EventKind::AgentFinish, || Event::from(finish))
    }

    /// Ends the run with what it made.
    pub fn end(self, outputs: impl Into<Value>) -> End {
        self.0.end(ChainEnd::new(outputs).into())
    }
}

run! {
    /// A tool's run.
    ToolRun
}
parent!(ToolRun);

impl ToolRun {
    /// Ends the run with what the tool made.
    pub fn end(self, output: impl Into<Value>) -> End {
        self.0.end(ToolEnd::new(output).into())
    }
}

run! {
    /// A retriever's run.
    RetrieverRun
}
parent!(RetrieverRun);

impl RetrieverRun {
    /// Ends the run with what was found, best first.
    pub fn end(self, documents: impl Into<Vec<Document>>) -> End {
        self.0.end(RetrieverEnd::new(documents).into())
    }
}
