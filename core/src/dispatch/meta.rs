//! A registered handler apart from its code: what it wants, what it has declined, its counts.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::RunNode;
use crate::handler::{CallbackHandler, HandlerId, HandlerOptions, HandlerStats};
use crate::model::context::EventContext;
use crate::model::error::{EmitError, FailureCause, HandlerFailure, HandlerResult};
use crate::model::event::{Event, EventKind, Interest};
use crate::util::{catch_unwind, drop_quietly};

/// How often the interest of any handler of the process has changed. That is rare: a handler
/// declines a kind once.
static INTEREST_CHANGES: AtomicUsize = AtomicUsize::new(1);

#[inline]
pub(crate) fn interest_changes() -> usize {
    INTEREST_CHANGES.load(Ordering::Acquire)
}

pub(crate) struct HandlerMeta {
    pub(crate) id: HandlerId,
    pub(crate) name: Arc<str>,
    pub(crate) inline: bool,
    pub(crate) raise_error: bool,
    interest: Interest,
    /// The kinds that it answered `unhandled` to.
    declined: AtomicU32,
    /// The kinds that it has handled at least once. Those are never muted.
    handled: AtomicU32,
    pub(crate) counters: Counters,
}

/// Counts of a handler. They wrap around at `usize::MAX`.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) handled: AtomicUsize,
    pub(crate) failed: AtomicUsize,
    pub(crate) dropped: AtomicUsize,
    pub(crate) coalesced: AtomicUsize,
    pub(crate) refused: AtomicUsize,
    /// Calls on emitters' tasks that take more than one poll and have not returned.
    pub(crate) pending: AtomicUsize,
}

/// What a handler's lane counts, apart from what emitters read.
#[derive(Default)]
pub(crate) struct LaneCounts {
    pub(crate) handled: usize,
    /// Events that are queued or being handled.
    pub(crate) pending: usize,
    pub(crate) open_runs: usize,
}

/// Counts `more`, without touching a shared cache line for nothing.
#[inline]
pub(crate) fn count(counter: &AtomicUsize, more: usize) {
    if more > 0 {
        counter.fetch_add(more, Ordering::Relaxed);
    }
}

/// What a handler answered.
pub(crate) enum Answer {
    Handled,
    Unhandled,
    Failed(EventKind, FailureCause),
}

impl HandlerMeta {
    pub(crate) fn new(name: &str, interest: Interest, options: &HandlerOptions) -> Self {
        let delivery = options.resolved_delivery();
        Self {
            id: HandlerId::next(),
            name: options.name.clone().unwrap_or_else(|| Arc::from(name)),
            inline: delivery.is_inline(),
            raise_error: delivery.raises_error(),
            interest,
            declined: AtomicU32::new(0),
            handled: AtomicU32::new(0),
            counters: Counters::default(),
        }
    }

    /// Whether it is to be asked about `kind`. A chat model's start goes to `on_llm_start` if it is
    /// not handled.
    #[inline]
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.takes(kind)
            || (kind == EventKind::ChatModelStart
                && self.interest.contains(kind)
                && self.takes(EventKind::LlmStart))
    }

    /// The kinds that it wants, as bits.
    pub(crate) fn wanted_kinds(&self) -> u32 {
        let bit = |kind: &EventKind| if self.wants(*kind) { kind.bit() } else { 0 };
        EventKind::ALL.iter().fold(0, |kinds, kind| kinds | bit(kind))
    }

    pub(crate) fn wants_token_times(&self) -> bool {
        self.interest.has_token_times() && self.takes(EventKind::LlmNewToken)
    }

    #[inline]
    pub(crate) fn takes(&self, kind: EventKind) -> bool {
        let muted = self.declined.load(Ordering::Acquire) & !self.handled.load(Ordering::Acquire);
        self.interest.contains(kind) && muted & kind.bit() == 0
    }

    #[inline]
    pub(crate) fn has_handled(&self, kind: EventKind) -> bool {
        self.handled.load(Ordering::Acquire) & kind.bit() != 0
    }

    /// Learns from an answer. `Err` is a panic's message.
    pub(crate) fn learn(
        &self,
        kind: EventKind,
        answer: Result<HandlerResult, FailureCause>,
    ) -> Answer {
        match answer {
            Ok(Ok(())) => {
                // Read before it is written: mostly it is known, and the line stays shared.
                if !self.has_handled(kind) {
                    self.handled.fetch_or(kind.bit(), Ordering::AcqRel);
                    if self.declined.load(Ordering::Acquire) & kind.bit() != 0 {
                        INTEREST_CHANGES.fetch_add(1, Ordering::AcqRel);
                    }
                }
                Answer::Handled
            }
            Ok(Err(error)) => match error.into_failure_cause() {
                None => {
                    let before = self.declined.fetch_or(kind.bit(), Ordering::AcqRel);
                    if before & kind.bit() == 0 {
                        INTEREST_CHANGES.fetch_add(1, Ordering::AcqRel);
                    }
                    Answer::Unhandled
                }
                Some(cause) => Answer::Failed(kind, cause),
            },
            Err(cause) => Answer::Failed(kind, cause),
        }
    }

    /// What is asked instead of an event that was not handled: for a chat model's start, the start
    /// with the messages as text.
    pub(crate) fn fallback(&self, event: &Event) -> Option<Event> {
        match event {
            Event::ChatModelStart(start) if self.takes(EventKind::LlmStart) => {
                Some(Event::LlmStart(start.to_llm_start()))
            }
            _ => None,
        }
    }

    /// Calls a sync handler on this thread.
    pub(crate) fn ask_sync(
        &self,
        handler: &mut (dyn CallbackHandler + Send),
        event: &Event,
        cx: &EventContext,
    ) -> Answer {
        let kind = event.kind();
        if self.takes(kind) {
            let answer = catch_unwind(|| cx.within_emitter(|| handler.on_event(event, cx)));
            match answer {
                // There is nothing to learn.
                Ok(Ok(())) if self.has_handled(kind) => return Answer::Handled,
                answer => match self.learn(kind, answer.map_err(FailureCause::Panicked)) {
                    Answer::Unhandled => {}
                    answer => return answer,
                },
            }
        }
        let Some(event) = self.fallback(event) else { return Answer::Unhandled };
        let answer = catch_unwind(|| handler.on_event(&event, cx));
        self.learn(event.kind(), answer.map_err(FailureCause::Panicked))
    }

    /// Counts and reports a failure, and keeps it for the emitter if it concerns that.
    pub(crate) fn fail(&self, kind: EventKind, cause: FailureCause, node: &RunNode) {
        count(&self.counters.failed, 1);
        let failure = HandlerFailure::new(self.name.clone(), kind, node.info.id(), cause);
        node.report(&failure);
        self.inform(failure, node);
    }

    /// Keeps a failure for the emitter if it concerns that.
    pub(crate) fn inform(&self, failure: HandlerFailure, node: &RunNode) {
        let gone = matches!(failure.cause, FailureCause::RuntimeGone);
        let (weight, error): (u8, fn(_) -> _) = match self.raise_error {
            true => (0, EmitError::Raised),
            false if gone => (1, EmitError::RuntimeGone),
            false => {
                // The cause is the handler's, and may panic when it is dropped.
                drop_quietly(failure);
                return;
            }
        };
        node.raise((weight, !self.inline, self.id), error(alloc::boxed::Box::new(failure)));
    }

    /// Counts an answer apart from a handled event, which the caller counts.
    pub(crate) fn conclude(&self, answer: Answer, node: &RunNode) {
        if let Answer::Failed(kind, cause) = answer {
            self.fail(kind, cause, node);
        }
    }

    /// `lane` has what the handler's lane counts.
    pub(crate) fn stats(&self, lane: LaneCounts) -> HandlerStats {
        let load = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        HandlerStats {
            id: self.id,
            name: self.name.clone(),
            handled: load(&counters.handled) + lane.handled,
            failed: load(&counters.failed),
            dropped: load(&counters.dropped),
            coalesced: load(&counters.coalesced),
            refused_runs: load(&counters.refused),
            pending: load(&counters.pending) + lane.pending,
            open_runs: lane.open_runs,
        }
    }
}
