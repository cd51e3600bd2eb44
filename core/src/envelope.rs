//! An accepted event on its way: what all who handle it share.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;

use crate::carrier::Outcome;
use crate::context::Current;
use crate::error::{EmitError, FailureCause, HandlerFailure};
use crate::event::Event;
use crate::latch::Latch;
use crate::registration::Registration;
use crate::report::Reporter;
use crate::run_info::RunInfo;
use crate::scope::{Facts, Unsent};
use crate::sync::Lock;

/// An accepted event; shared, since lanes may outlive the emitter.
pub(crate) struct Envelope {
    pub(crate) event: Event,
    pub(crate) facts: Arc<Facts>,
    /// Where the emitter was, inside of which the handlers are called.
    pub(crate) emitter: Current,
    /// Under which the ledger knows it. Absent where its run alone answers for it: then it is in no lane.
    page: Option<usize>,
    /// How many have not handled it yet: its fan-out, and each call in a lane.
    unhandled: AtomicUsize,
    /// What its emitter waits for.
    latch: Latch,
    /// Not zero where there is a verdict.
    has_verdict: AtomicUsize,
    /// What the emitter is told.
    verdict: Lock<Option<Box<Verdict>>>,
}

/// A failure that concerns the emitter.
struct Verdict {
    /// The lower, the sooner it is told: by what it is, and whose.
    rank: (u8, bool, usize),
    error: EmitError,
}

impl Envelope {
    /// An event that its fan-out has to handle.
    pub(crate) fn new(event: Event, facts: Arc<Facts>, emitter: Current, page: Option<usize>) -> Self {
        Self {
            event,
            facts,
            emitter,
            page,
            unhandled: AtomicUsize::new(1),
            latch: Latch::new(),
            has_verdict: AtomicUsize::new(0),
            verdict: Lock::new(None),
        }
    }

    /// The same for another event of the run, emitted from the same place: what is handled has left no trace but its verdict, which came too late if it
    /// was not read.
    #[inline(always)]
    fn renew(&mut self, event: &mut Unsent, sequence: u64, time: Option<Duration>, page: Option<usize>) {
        event.send(sequence, time, &mut self.event);
        self.page = page;
        *self.unhandled.get_mut() = 1;
        if core::mem::take(self.has_verdict.get_mut()) != 0 {
            let _late = self.verdict.with(Option::take);
        }
    }

    #[inline]
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
    #[inline]
    pub(crate) fn handled(&self) {
        let Some(page) = self.page else { return };
        if self.unhandled.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.facts.setup.engine.ledger.close(page);
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
        let verdict = Box::new(Verdict { rank, error });
        let _replaced = self.verdict.with(|told| match told {
            Some(first) if first.rank <= rank => Some(verdict),
            _ => told.replace(verdict),
        });
        self.has_verdict.swap(1, Ordering::AcqRel);
    }

    /// What the emitter is told.
    #[inline]
    pub(crate) fn verdict(&self) -> Outcome {
        if self.has_verdict.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        self.has_verdict.swap(0, Ordering::AcqRel);
        match self.verdict.with(Option::take) {
            Some(verdict) => Err(Box::new(verdict.error)),
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
pub(crate) struct FanOut {
    envelope: Arc<Envelope>,
    /// Whether they are.
    open: bool,
}

impl FanOut {
    pub(crate) fn new(envelope: Envelope) -> Self {
        Self {
            envelope: Arc::new(envelope),
            open: true,
        }
    }

    #[inline]
    pub(crate) fn envelope(&self) -> &Arc<Envelope> {
        &self.envelope
    }

    /// It has been handled, as far as this goes.
    #[inline]
    pub(crate) fn close(&mut self) {
        if core::mem::take(&mut self.open) {
            self.envelope.handled();
        }
    }

    /// Makes one that is closed that of another event of the run, emitted from the same place; false where somebody still has the earlier one.
    #[inline(always)]
    pub(crate) fn reopen(&mut self, event: &mut Unsent, sequence: u64, time: Option<Duration>, page: Option<usize>) -> bool {
        let Some(envelope) = Arc::get_mut(&mut self.envelope) else {
            return false;
        };
        envelope.renew(event, sequence, time, page);
        self.open = true;
        true
    }
}

impl Drop for FanOut {
    #[inline]
    fn drop(&mut self) {
        self.close();
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
