//! An accepted event on its way: what all who handle it share.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};

use crate::context::Current;
use crate::error::{EmitError, FailureCause, HandlerFailure};
use crate::event::Event;
use crate::latch::Latch;
use crate::ledger::Ticket;
use crate::registration::Registration;
use crate::report::Reporter;
use crate::run_info::RunInfo;
use crate::scope::Facts;
use crate::sync::Lock;

/// An accepted event; shared, since lanes may outlive the emitter.
pub(crate) struct Envelope {
    pub(crate) event: Event,
    pub(crate) facts: Arc<Facts>,
    /// Where the emitter was, inside of which the handlers are called.
    pub(crate) emitter: Current,
    /// Under which the ledger knows it.
    page: u64,
    /// How many have not handled it yet: its fan-out, and each call in a lane.
    unhandled: AtomicUsize,
    /// What its emitter waits for.
    latch: Latch,
    /// What the emitter is told.
    verdict: Lock<Option<Verdict>>,
}

/// A failure that concerns the emitter.
struct Verdict {
    /// The lower, the sooner it is told: by what it is, and whose.
    rank: (u8, bool, usize),
    error: EmitError,
}

impl Envelope {
    /// Counts the event in, unless a ticket says that it has been, and makes it. Its fan-out has to handle it.
    pub(crate) fn open(event: Event, facts: Arc<Facts>, emitter: Current, ticket: Option<Ticket>) -> FanOut {
        let page = ticket.and_then(Ticket::into_page);
        let page = page.unwrap_or_else(|| facts.setup.engine.ledger.open());
        FanOut(Arc::new(Self {
            event,
            facts,
            emitter,
            page,
            unhandled: AtomicUsize::new(1),
            latch: Latch::new(),
            verdict: Lock::new(None),
        }))
    }

    pub(crate) fn run(&self) -> &RunInfo {
        &self.facts.info
    }

    pub(crate) fn reporter(&self) -> &Reporter {
        &self.facts.setup.reporter
    }

    /// One more has to handle it.
    pub(crate) fn to_be_handled(&self) {
        self.unhandled.fetch_add(1, Ordering::AcqRel);
    }

    /// One of those has.
    pub(crate) fn handled(&self) {
        if self.unhandled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.facts.setup.engine.ledger.close(self.page);
        }
    }

    /// Keeps the failure of handler number `index` for the emitter, if it concerns that, and none does more.
    pub(crate) fn note(&self, index: usize, handler: &Registration, failure: &HandlerFailure) {
        let (weight, error) = match &failure.cause {
            _ if handler.raise_error => (0, EmitError::Raised(failure.clone())),
            FailureCause::WouldDeadlock => (1, EmitError::WouldDeadlock(failure.clone())),
            FailureCause::RuntimeGone => (2, EmitError::RuntimeGone(failure.clone())),
            _ => return,
        };
        // Inline handlers come before the others.
        let rank = (weight, !handler.run_inline, index);
        let verdict = Verdict { rank, error };
        let _replaced = self.verdict.with(|told| match told {
            Some(first) if first.rank <= rank => Some(verdict),
            _ => told.replace(verdict),
        });
    }

    /// What the emitter is told.
    pub(crate) fn verdict(&self) -> Result<(), EmitError> {
        match self.verdict.with(Option::take) {
            Some(verdict) => Err(verdict.error),
            None => Ok(()),
        }
    }

    /// Ready when nobody keeps the emitter waiting any more.
    pub(crate) fn poll_released(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.latch.poll(cx)
    }

    /// Keeps the emitter waiting until [`release`](Self::release).
    pub(crate) fn hold_emitter(&self) {
        self.latch.hold();
    }

    pub(crate) fn release_emitter(&self) {
        self.latch.release();
    }
}

/// An event whose handlers are being asked; dropped, it has been handled as far as that goes.
pub(crate) struct FanOut(pub(crate) Arc<Envelope>);

impl Drop for FanOut {
    fn drop(&mut self) {
        self.0.handled();
    }
}

/// Keeps an event's emitter waiting until it is dropped.
pub(crate) struct Hold(Arc<Envelope>);

impl Hold {
    pub(crate) fn new(envelope: &Arc<Envelope>) -> Self {
        envelope.hold_emitter();
        Self(envelope.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release_emitter();
    }
}
