//! A socket that fails within a write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::State;

/// Writes only the first half of a buffer when the script says so, and nothing after that.
pub(super) struct Breaking<S> {
    socket: S,
    state: Arc<State>,
    broken: bool,
}

impl<S> Breaking<S> {
    pub(super) fn new(socket: S, state: Arc<State>) -> Self {
        Self { socket, state, broken: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Breaking<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Breaking<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let break_now = self.state.break_next_write.swap(false, Ordering::Relaxed);
        let bytes = if break_now { &bytes[..bytes.len() / 2] } else { bytes };
        let written = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes));
        self.broken = break_now;
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
