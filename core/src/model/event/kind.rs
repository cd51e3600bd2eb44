//! Kinds of events, their groups, and the set of kinds that a handler is interested in.

use core::fmt;
use core::ops::BitOr;

use super::table::for_each_event;

macro_rules! event_kind {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// The kind of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum EventKind {
            $(#[doc = $doc] $variant,)+
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Returns the name of the handler method: `on_llm_start`, for example.
            #[must_use]
            pub const fn method(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($method),)+
                }
            }

            /// Returns the group that the kind belongs to.
            #[must_use]
            pub const fn group(self) -> EventGroup {
                match self {
                    $(Self::$variant => EventGroup::$group,)+
                }
            }
        }
    };
}
for_each_event!(event_kind);

impl EventKind {
    #[inline]
    pub(crate) const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// Returns `true` if a run starts with it.
    #[must_use]
    #[inline]
    pub const fn is_start(self) -> bool {
        matches!(
            self,
            Self::LlmStart
                | Self::ChatModelStart
                | Self::ChainStart
                | Self::ToolStart
                | Self::RetrieverStart
        )
    }

    /// Returns `true` if a run ends with it: for an end and for an error.
    #[must_use]
    #[inline]
    pub const fn is_end(self) -> bool {
        matches!(
            self,
            Self::LlmEnd
                | Self::LlmError
                | Self::ChainEnd
                | Self::ChainError
                | Self::ToolEnd
                | Self::ToolError
                | Self::RetrieverEnd
                | Self::RetrieverError
        )
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method())
    }
}

/// A group of kinds, as LangChain's `ignore_*` flags group them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventGroup {
    /// `on_llm_start`, `on_llm_new_token`, `on_llm_end`, `on_llm_error`, also those of chat models.
    Llm,
    /// `on_chat_model_start`, and the `on_llm_start` that replaces it if it is unhandled.
    ChatModel,
    /// `on_chain_*`.
    Chain,
    /// `on_tool_*` and `on_agent_*`.
    Agent,
    /// `on_retriever_*`.
    Retriever,
    /// `on_text`.
    Text,
    /// `on_retry`.
    Retry,
    /// `on_custom_event`.
    CustomEvent,
}

/// A set of event kinds: those that a handler is interested in.
///
/// ```
/// use rappel_core::{EventGroup, EventKind, Interest};
///
/// let quiet = Interest::all().without_group(EventGroup::Llm);
/// assert!(!quiet.contains(EventKind::LlmNewToken));
/// assert!(quiet.contains(EventKind::ChatModelStart));
/// let tokens = Interest::only(EventKind::LlmNewToken);
/// assert!(tokens.contains(EventKind::LlmNewToken) && !tokens.contains(EventKind::LlmEnd));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest {
    kinds: u32,
    token_times: bool,
}

impl Interest {
    /// The set of all kinds, including those that a later version adds.
    #[must_use]
    pub const fn all() -> Self {
        Self::of(u32::MAX)
    }

    /// The empty set.
    #[must_use]
    pub const fn none() -> Self {
        Self::of(0)
    }

    /// The set of one kind.
    #[must_use]
    pub const fn only(kind: EventKind) -> Self {
        Self::of(kind.bit())
    }

    const fn of(kinds: u32) -> Self {
        Self { kinds, token_times: false }
    }

    /// Adds `kind`.
    #[must_use]
    pub const fn with(mut self, kind: EventKind) -> Self {
        self.kinds |= kind.bit();
        self
    }

    /// Removes `kind`.
    #[must_use]
    pub const fn without(mut self, kind: EventKind) -> Self {
        self.kinds &= !kind.bit();
        self
    }

    /// Adds the kinds of `group`.
    #[must_use]
    pub const fn with_group(mut self, group: EventGroup) -> Self {
        self.kinds |= group_bits(group);
        self
    }

    /// Removes the kinds of `group`.
    #[must_use]
    pub const fn without_group(mut self, group: EventGroup) -> Self {
        self.kinds &= !group_bits(group);
        self
    }

    /// Asks for the time of every event ([`EventContext::time`](crate::EventContext::time)), not
    /// only of starts and ends.
    ///
    /// The clock is then read for every token, which costs more than most handlers do.
    #[must_use]
    pub const fn with_token_times(mut self) -> Self {
        self.token_times = true;
        self
    }

    /// Returns `true` if `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: EventKind) -> bool {
        self.kinds & kind.bit() != 0
    }

    pub(crate) const fn has_token_times(self) -> bool {
        self.token_times
    }
}

const fn group_bits(group: EventGroup) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < EventKind::ALL.len() {
        let kind = EventKind::ALL[index];
        if kind.group() as u8 == group as u8 {
            bits |= kind.bit();
        }
        index += 1;
    }
    bits
}

impl BitOr for Interest {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { kinds: self.kinds | other.kinds, token_times: self.token_times || other.token_times }
    }
}

impl Default for Interest {
    fn default() -> Self {
        Self::all()
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kinds == Self::all().kinds {
            return f.write_str("Interest(all)");
        }
        f.debug_set().entries(EventKind::ALL.iter().filter(|kind| self.contains(**kind))).finish()
    }
}
