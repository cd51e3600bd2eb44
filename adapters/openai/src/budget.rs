//! Giving the executor its turn.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;

use futures_util::io::{AsyncRead, AsyncWrite};

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

/// A socket that gives the executor its turn.
///
/// Whoever reads from it may read on without handing anything on: hyper does with heads that say "go on", for as long as they come. No limit of
/// time would be looked at meanwhile.
pub(crate) struct Fair<S> {
    socket: S,
    budget: Budget,
}

impl<S> Fair<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            budget: Budget::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.budget.poll_spend(cx));
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        if read.is_pending() {
            this.budget.refill();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fair<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}
