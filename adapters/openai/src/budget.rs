//! Giving the executor its turn.

use core::task::{Context, Poll};

/// How often in a row something may be ready before it yields.
const READY_IN_A_ROW: u8 = 64;

/// Counts what is ready without ever having waited.
///
/// A server on the same machine can be faster than its client, so that the
/// socket never runs dry: without a pause, nothing else on the same thread
/// would be polled until the stream ends.
#[derive(Debug)]
pub(crate) struct Budget(u8);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(READY_IN_A_ROW)
    }

    /// Pending once the budget is spent, and woken at once.
    pub(crate) fn poll_spend(&mut self, cx: &Context<'_>) -> Poll<()> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Poll::Ready(())
            }
            None => {
                self.refill();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// To be called when the executor had its turn anyway.
    pub(crate) fn refill(&mut self) {
        self.0 = READY_IN_A_ROW;
    }
}
