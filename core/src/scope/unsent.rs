//! An event that has not happened yet, as its emitter holds it.

use alloc::boxed::Box;
use core::mem;

use crate::event::{Event, EventKind, LlmNewToken, Stamp, Stamped};

/// An event that has not happened yet. Tokens are small, and many: they need no box.
pub(crate) enum Unsent {
    Token(LlmNewToken),
    Other(Box<Event>),
    /// It has happened.
    Sent,
}

impl From<LlmNewToken> for Unsent {
    fn from(token: LlmNewToken) -> Self {
        Self::Token(token)
    }
}

impl From<Event> for Unsent {
    fn from(event: Event) -> Self {
        Self::Other(Box::new(event))
    }
}

impl Unsent {
    pub(super) fn kind(&self) -> EventKind {
        match self {
            Self::Token(_) | Self::Sent => EventKind::LlmNewToken,
            Self::Other(event) => event.kind(),
        }
    }

    pub(super) fn set_stamp(&mut self, stamp: Stamp) {
        match self {
            Self::Token(token) => *token.stamp_mut() = stamp,
            Self::Other(event) => *event.stamp_mut() = stamp,
            Self::Sent => {}
        }
    }

    /// What is sent now.
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Self::Sent)
    }

    /// Puts the event where it goes.
    pub(crate) fn write_to(self, slot: &mut Event) {
        match self {
            Self::Token(token) => *slot = Event::LlmNewToken(token),
            Self::Other(event) => *slot = *event,
            Self::Sent => {}
        }
    }

    pub(crate) fn into_event(self) -> Event {
        match self {
            Self::Token(token) => Event::LlmNewToken(token),
            Self::Other(event) => *event,
            Self::Sent => Event::LlmNewToken(LlmNewToken::new("")),
        }
    }
}
