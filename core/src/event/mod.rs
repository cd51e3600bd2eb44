//! What happened: one enum, its kinds, and their payloads.
//!
//! The names of the handler methods are LangChain's; the payloads are structs, `#[non_exhaustive]` and built by constructors, so that a
//! new field or event breaks nobody. Who it happened to stands in the [`RunInfo`](crate::RunInfo) that goes with every event.

mod kind;
mod payload;

pub use kind::{EventGroup, EventKind, Interest};
pub use payload::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent, Document, LlmEnd, LlmError, LlmNewToken,
    LlmStart, RetrieverEnd, RetrieverError, RetrieverStart, Retry, Text, ToolEnd, ToolError, ToolStart,
};
pub(crate) use payload::{Stamp, Stamped};

use core::time::Duration;

use crate::lane::Losses;

/// Calls the macro `$then` with the table of all events: variant (which is also the payload's and the kind's name), handler method, group.
///
/// One table for the enum, the kinds, and both handler traits: an event that one of them lacks does not compile. Exported for their twins in
/// `rappel-local`, and no part of what this crate promises.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_event {
    ($then:ident) => {
        $then! {
            LlmStart on_llm_start Llm "A text model was asked, or a chat model whose start this handler leaves to `on_llm_start`.",
            ChatModelStart on_chat_model_start ChatModel "A chat model was asked. Unhandled, the handler gets `on_llm_start` with the messages as text.",
            LlmNewToken on_llm_new_token Llm "A model streamed a token; it may be empty.",
            LlmEnd on_llm_end Llm "A model is done.",
            LlmError on_llm_error Llm "A model's run failed, was stopped, or was cancelled; the partial result comes with it.",
            ChainStart on_chain_start Chain "A chain of steps began.",
            ChainEnd on_chain_end Chain "A chain is done.",
            ChainError on_chain_error Chain "A chain failed, was stopped, or was cancelled.",
            ToolStart on_tool_start Agent "A tool was called.",
            ToolEnd on_tool_end Agent "A tool is done.",
            ToolError on_tool_error Agent "A tool failed, was stopped, or was cancelled.",
            RetrieverStart on_retriever_start Retriever "A retriever was asked.",
            RetrieverEnd on_retriever_end Retriever "A retriever is done.",
            RetrieverError on_retriever_error Retriever "A retriever failed, was stopped, or was cancelled.",
            AgentAction on_agent_action Agent "An agent chose a tool; on a chain's run.",
            AgentFinish on_agent_finish Agent "An agent is done; on a chain's run, which still has to end.",
            Text on_text Text "Some text for whoever watches; on a chain's run.",
            Retry on_retry Retry "Something failed and will be tried again.",
            CustomEvent on_custom_event CustomEvent "An event of the application's own.",
        }
    };
}
pub(crate) use for_each_event;

macro_rules! event_enum {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// Something that happened to a run.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Event {
            $(#[doc = $doc] $variant($variant),)+
        }

        impl Event {
            /// Which kind of event it is.
            #[must_use]
            pub const fn kind(&self) -> EventKind {
                match self {
                    $(Self::$variant(_) => EventKind::$variant,)+
                }
            }

            pub(crate) fn stamp(&self) -> &Stamp {
                match self {
                    $(Self::$variant(payload) => payload.stamp(),)+
                }
            }

            pub(crate) fn stamp_mut(&mut self) -> &mut Stamp {
                match self {
                    $(Self::$variant(payload) => payload.stamp_mut(),)+
                }
            }
        }

        $(
            impl From<$variant> for Event {
                fn from(payload: $variant) -> Self {
                    Self::$variant(payload)
                }
            }
        )+
    };
}
for_each_event!(event_enum);

impl Event {
    /// Writes on a parent's end how many of its children are open.
    pub(crate) fn set_open_children(&mut self, open: usize) {
        match self {
            Self::ChainEnd(end) => end.open_children = open,
            Self::ChainError(error) => error.open_children = open,
            Self::ToolEnd(end) => end.open_children = open,
            Self::ToolError(error) => error.open_children = open,
            Self::RetrieverEnd(end) => end.open_children = open,
            Self::RetrieverError(error) => error.open_children = open,
            _ => {}
        }
    }

    /// The event's place among those of its run that anybody hears: 0 for the start, then one more for each.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.stamp().sequence
    }

    /// When a start, an end or an error was emitted, since 1970, and a token where a handler asked for that
    /// ([`Interest::with_token_times`]); `None` for the others, and where the clock does not know.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        self.stamp().time
    }

    /// What this handler did not get before this event, for want of room: see [`Overflow`](crate::Overflow).
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.stamp().losses
    }
}
