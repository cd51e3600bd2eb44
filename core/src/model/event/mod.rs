//! Events: one enum, its kinds, and their payloads.
//!
//! The names of the handler methods are LangChain's. The payloads are `#[non_exhaustive]` structs
//! with constructors, so a new field or a new event breaks no user code. An event's run is in the
//! [`EventContext`](crate::EventContext) that handlers get with it.

pub(crate) mod kind;
mod llm;
mod payload;
mod start;
mod table;
mod tool;

pub use kind::{EventGroup, EventKind, Interest};
pub use llm::{ChatModelStart, LlmEnd, LlmError, LlmNewToken, LlmStart};
pub use payload::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, CustomEvent, RetrieverEnd,
    RetrieverError, RetrieverStart, Retry, Text,
};
pub(crate) use start::StartOrigin;
pub(crate) use table::for_each_event;
pub use tool::{ToolEnd, ToolError, ToolStart};

use super::error::RunError;
use super::result::LlmResult;
use super::run_info::RunKind;

macro_rules! event_enum {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// Something that happened in a run.
        #[derive(Debug, Clone)]
        #[non_exhaustive]
        pub enum Event {
            $(#[doc = $doc] $variant($variant),)+
        }

        impl Event {
            /// Returns the kind of the event.
            #[must_use]
            #[inline]
            pub const fn kind(&self) -> EventKind {
                match self {
                    $(Self::$variant(_) => EventKind::$variant,)+
                }
            }
        }

        $(
            impl From<$variant> for Event {
                #[inline]
                fn from(payload: $variant) -> Self {
                    Self::$variant(payload)
                }
            }
        )+
    };
}
for_each_event!(event_enum);

impl Event {
    /// Returns the error of an event that ends a run, if the run did not end well.
    /// [`RunError::HandedOver`] is no failure: another process continues the run.
    #[must_use]
    pub const fn error(&self) -> Option<&RunError> {
        match self {
            Self::LlmError(event) => Some(&event.error),
            Self::ChainError(event) => Some(&event.error),
            Self::ToolError(event) => Some(&event.error),
            Self::RetrieverError(event) => Some(&event.error),
            _ => None,
        }
    }

    /// Sets the number of open children on the end of a run that can have some.
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
}

/// Makes the event with which a run of that kind fails. The partial result of a model's run is
/// filled in when the event is accepted.
pub(crate) fn error_event(kind: RunKind, error: RunError) -> Event {
    match kind {
        RunKind::Llm | RunKind::ChatModel => LlmError::new(error, LlmResult::new()).into(),
        RunKind::Chain | RunKind::None => ChainError::new(error).into(),
        RunKind::Tool => ToolError::new(error).into(),
        RunKind::Retriever => RetrieverError::new(error).into(),
    }
}

/// Whether a field has its default, and so is not written.
#[cfg(feature = "serde")]
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
