//! An event that has not happened yet, as its emitter holds it.

use alloc::boxed::Box;
use core::mem;
use core::time::Duration;

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

    /// Puts the event where it goes. What was there may be here then.
    ///
    /// Number and time come apart, and not as a stamp: so they stay in registers, and are not read from where they were just written in other pieces, which
    /// a processor is slow to do.
    #[inline]
    pub(crate) fn send(&mut self, sequence: u64, time: Option<Duration>, slot: &mut Event) {
        match (self, &mut *slot) {
            (Self::Token(token, chunk), Event::LlmNewToken(earlier)) => {
                mem::swap(token, &mut earlier.token);
                mem::swap(chunk, &mut earlier.chunk);
                earlier.stamp.sequence = sequence;
                earlier.stamp.time = time;
            }
            (unsent, slot) => *slot = unsent.take().into_event(sequence, time),
        }
    }

    /// What is sent now.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        mem::replace(self, Self::Sent)
    }

    pub(crate) fn into_event(self, sequence: u64, time: Option<Duration>) -> Event {
        let stamp = Stamp {
            sequence,
            time,
            ..Stamp::default()
        };
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
