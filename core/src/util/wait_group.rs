//! A counter that one task waits for until it is zero.

use alloc::sync::Arc;
use core::task::{Context, Poll};

use super::catch_unwind::{catch_unwind, drop_quietly};
use super::sync::{AtomicUsize, AtomicWaker, Ordering};

/// Counts pieces of work. At most one task at a time waits until none is left.
pub(crate) struct WaitGroup {
    count: AtomicUsize,
    waiter: AtomicWaker,
}

impl WaitGroup {
    pub(crate) fn new() -> Self {
        Self { count: AtomicUsize::new(0), waiter: AtomicWaker::new() }
    }

    /// Adds one piece of work. Call it before any other thread can call [`done`](Self::done) for it.
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Removes one piece of work, and wakes the waiting task if it was the last one.
    pub(crate) fn done(&self) {
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A waker is user code: its panic must not reach the work that has just finished.
            let _ = catch_unwind(|| self.waiter.wake());
        }
    }

    /// Returns `Ready` if no work is left.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_empty() {
            return Poll::Ready(());
        }
        // First register, then look again, so that a `done` in between wakes this task.
        self.waiter.register(cx.waker());
        match self.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Returns `true` if no work is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Forgets the task that waits.
    pub(crate) fn forget_waiter(&self) {
        drop_quietly(self.waiter.take());
    }
}

/// One piece of work in a [`WaitGroup`]; done when it is dropped.
pub(crate) struct WaitGuard(Arc<WaitGroup>);

impl WaitGuard {
    pub(crate) fn new(group: &Arc<WaitGroup>) -> Self {
        group.add();
        Self(group.clone())
    }

    /// One more guard of the same group.
    pub(crate) fn again(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.0.done();
    }
}
