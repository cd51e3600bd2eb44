//! Yielding to the executor.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use futures_util::io::{AsyncRead, AsyncWrite};

/// How many polls in a row may be ready before one yields.
const READY_IN_A_ROW: u8 = 64;

/// Counts the polls that were ready, and makes one of them pending when there were too many.
///
/// A server on the same machine can be faster than its client, so that the socket is always
/// readable. Without a yield, no other task of the same thread would be polled until the stream
/// ends.
#[derive(Debug)]
pub(crate) struct Budget(u8);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(READY_IN_A_ROW)
    }

    /// Pending once the budget is spent. The waker is then woken at once.
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

    /// Resets the budget. Call it when the task is about to yield anyway.
    pub(crate) fn refill(&mut self) {
        self.0 = READY_IN_A_ROW;
    }
}

/// A socket that yields after a number of reads.
///
/// A reader may read on without returning to its caller. hyper does so for `100 Continue` heads,
/// for as long as they arrive, and no time limit would be checked meanwhile.
pub(crate) struct Coop<S> {
    socket: S,
    budget: Budget,
}

impl<S> Coop<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, budget: Budget::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coop<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.budget.poll_spend(cx));
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        if read.is_pending() {
            this.budget.refill();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coop<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
