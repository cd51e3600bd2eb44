//! Which kinds of events a run has to bother about: asked for each, and mostly by two loads.

use core::sync::atomic::AtomicU32;

use super::RunCore;
use crate::event::EventKind;
use crate::sync::{AtomicUsize, Ordering};

/// How often it has changed what any run of the process has to bother about. That is rare: a handler declines a kind once.
static CHANGES: AtomicUsize = AtomicUsize::new(1);

/// What a run has to bother about has changed, or may have: it looks again before its next event.
pub(crate) fn has_changed() {
    CHANGES.fetch_add(1, Ordering::AcqRel);
}

/// The kinds that make a difference to any handler of a run, as they were when `changes` had been counted.
#[derive(Default)]
pub(super) struct Heard {
    changes: AtomicUsize,
    kinds: AtomicU32,
}

/// Beside the kinds: tokens carry their time.
const TOKEN_TIMES: u32 = 1 << 31;

/// Tokens go to async handlers only, and nothing else has to be asked about them.
const PLAIN_TOKENS: u32 = 1 << 30;

/// Whether an event is a token of a run that goes on, and has handlers for it, async ones only.
pub(super) struct Plain(pub(super) bool);

impl Heard {
    /// The kinds, if nothing has changed meanwhile.
    #[inline]
    fn known(&self) -> Option<u32> {
        // In this order, and under the run's lock in the other one: kinds that are older than what is said of them are never found.
        let changes = self.changes.load(Ordering::Acquire);
        let kinds = self.kinds.load(Ordering::Acquire);
        (changes == CHANGES.load(Ordering::Acquire)).then_some(kinds)
    }
}

impl RunCore {
    /// Whether an event of `kind` makes a difference to anybody; and then, whether it is a token for handlers of a run that goes on.
    #[inline]
    pub(super) fn minds(&self, kind: EventKind) -> Option<Plain> {
        let kinds = match self.heard.known() {
            Some(kinds) => kinds,
            None => self.look_again(),
        };
        (kinds & kind.bit() != 0).then_some(Plain(kind == EventKind::LlmNewToken && kinds & PLAIN_TOKENS != 0))
    }

    /// Whether a handler wants the time of each token.
    pub(super) fn wants_token_times(&self) -> bool {
        let kinds = self.heard.known().unwrap_or_else(|| self.look_again());
        kinds & TOKEN_TIMES != 0
    }

    /// Whether tokens carry their time, if nothing else has to be asked about them.
    #[inline]
    pub(super) fn has_plain_tokens(&self) -> Option<bool> {
        let kinds = self.heard.known().filter(|kinds| kinds & PLAIN_TOKENS != 0)?;
        Some(kinds & TOKEN_TIMES != 0)
    }

    #[cold]
    fn look_again(&self) -> u32 {
        self.state.with(|_| {
            // Counted first: what changes while we look is looked at again.
            let changes = CHANGES.load(Ordering::Acquire);
            let kinds = self.minded();
            self.heard.changes.swap(0, Ordering::AcqRel);
            self.heard.kinds.swap(kinds, Ordering::AcqRel);
            self.heard.changes.swap(changes, Ordering::AcqRel);
            kinds
        })
    }

    fn minded(&self) -> u32 {
        let setup = &self.facts.setup;
        if !setup.has_handlers() {
            return 0;
        }
        // A run that was cut off by its parent's end, or by a shutdown, says so at its next event, heard or not.
        let closed = self.facts.is_cut_off() || setup.engine.is_shut_down();
        let mut kinds = match closed {
            true => !(TOKEN_TIMES | PLAIN_TOKENS),
            false => setup.handlers().fold(0, |kinds, handler| kinds | handler.wanted_kinds()),
        };
        if !closed && !setup.has_lanes() && setup.wants(EventKind::LlmNewToken) {
            kinds |= PLAIN_TOKENS;
        }
        if kinds & (EventKind::LlmEnd.bit() | EventKind::LlmError.bit()) != 0 {
            // Tokens are part of what these tell.
            kinds |= EventKind::LlmNewToken.bit();
        }
        if setup.handlers().any(|handler| handler.wants_token_times()) {
            kinds |= TOKEN_TIMES;
        }
        kinds
    }
}
