//! What an emitter waits for: that nobody keeps it waiting any more.

use core::task::{Context, Poll};

use crate::contain::contained;
use crate::sync::{AtomicUsize, AtomicWaker, Ordering};

/// Counts those who keep one waiter waiting.
pub(crate) struct Latch {
    holders: AtomicUsize,
    waiter: AtomicWaker,
}

impl Latch {
    pub(crate) fn new() -> Self {
        Self {
            holders: AtomicUsize::new(0),
            waiter: AtomicWaker::new(),
        }
    }

    /// One more keeps the waiter waiting. Counted before whoever releases it can know of it.
    pub(crate) fn hold(&self) {
        self.holders.fetch_add(1, Ordering::AcqRel);
    }

    /// One keeps it no longer.
    pub(crate) fn release(&self) {
        if self.holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A waker that panics is its runtime's affair, and must not stop a lane.
            let _ = contained(|| self.waiter.wake());
        }
    }

    /// Ready when nobody keeps the waiter waiting.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.holders.load(Ordering::Acquire) == 0 {
            return Poll::Ready(());
        }
        // Enlisted before we look again: who releases between the two finds us.
        self.waiter.register(cx.waker());
        match self.holders.load(Ordering::Acquire) {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}
