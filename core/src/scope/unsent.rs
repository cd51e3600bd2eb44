//! An event that has not happened yet, as its emitter holds it.

use alloc::boxed::Box;
use core::mem;

use crate::event::{Event, EventKind, LlmNewToken, Stamp};
use crate::result::LlmChunk;
use crate::token::Token;

/// An event that has not happened yet. Tokens are small, and many: they need no box.
pub(crate) enum Unsent {
    /// A token without its stamp.
    Token(Token, Option<Box<LlmChunk>>),
    Other(Box<Event>),
    /// It has happened.
    Sent,
}

impl From<LlmNewToken> for Unsent {
    #[inline]
    fn from(token: LlmNewToken) -> Self {
        Self::Token(token.token, token.chunk)
    }
}

impl From<Event> for Unsent {
    fn from(event: Event) -> Self {
        Self::Other(Box::new(event))
    }
}

impl Unsent {
    #[inline]
    pub(super) fn kind(&self) -> EventKind {
        match self {
            Self::Token(..) | Self::Sent => EventKind::LlmNewToken,
            Self::Other(event) => event.kind(),
        }
    }

    /// What is sent now.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        mem::replace(self, Self::Sent)
    }

    /// Puts the event where it goes.
    #[inline]
    pub(crate) fn send(self, stamp: Stamp, slot: &mut Event) {
        match (self, &mut *slot) {
            (Self::Token(token, chunk), Event::LlmNewToken(earlier)) => *earlier = LlmNewToken { token, chunk, stamp },
            (unsent, slot) => *slot = unsent.into_event(stamp),
        }
    }

    pub(crate) fn into_event(self, stamp: Stamp) -> Event {
        match self {
            Self::Token(token, chunk) => Event::LlmNewToken(LlmNewToken { token, chunk, stamp }),
            Self::Other(mut event) => {
                *event.stamp_mut() = stamp;
                *event
            }
            Self::Sent => Event::LlmNewToken(LlmNewToken::new("")),
        }
    }
}
