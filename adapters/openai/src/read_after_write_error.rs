//! Reading the answer of a server that has stopped reading the request.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use futures_util::io::{AsyncRead, AsyncWrite};

/// A socket that can still be read after a write failed.
///
/// A server that refuses a request (it is too long, or the key is wrong) may answer and close the
/// connection without reading the rest. hyper would stop at the failed write, and the answer would
/// be lost. After a failed write, this socket discards what is written and reports success. The
/// outcome then depends on what can be read: the answer, or the end of the connection.
pub(crate) struct ReadAfterWriteError<S> {
    socket: S,
    write_failed: bool,
}

impl<S> ReadAfterWriteError<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, write_failed: false }
    }

    /// Replaces an error that says that the peer is gone by `done`.
    fn mask<T>(&mut self, written: Poll<io::Result<T>>, done: T) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match written {
            Poll::Ready(Err(error))
                if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) =>
            {
                self.write_failed = true;
                Poll::Ready(Ok(done))
            }
            written => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAfterWriteError<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAfterWriteError<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_failed {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.mask(written, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.mask(flushed, ())
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_lite::future::block_on;
    use futures_util::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A peer that sends an answer and fails every write.
    struct Refusing(&'static [u8]);

    impl AsyncRead for Refusing {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Refusing {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn an_answer_can_be_read_after_a_write_failed() {
        let mut socket = ReadAfterWriteError::new(Refusing(b"too long"));
        let mut answer = String::new();
        block_on(async {
            socket.write_all(&[0; 1000]).await.unwrap();
            socket.write_all(&[0; 1000]).await.unwrap();
            socket.flush().await.unwrap();
            socket.read_to_string(&mut answer).await.unwrap();
        });
        assert_eq!(answer, "too long");
    }
}
