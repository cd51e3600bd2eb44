//! Hearing a server out that does not listen any more.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;

use futures_util::io::{AsyncRead, AsyncWrite};

/// A socket that goes on reading where writing has failed.
///
/// A server that refuses a long request, since it is too long or has the wrong key, may say so and close the connection without reading the rest.
/// hyper would stop at the write that fails, and the answer would be lost. So from there on writes count as done: what comes of it is up to
/// what can be read, the answer or the end.
pub(crate) struct LastWords<S> {
    socket: S,
    deaf: bool,
}

impl<S> LastWords<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { socket, deaf: false }
    }

    /// What a write came to, or `done` where nobody listens.
    fn told<T>(&mut self, written: Poll<io::Result<T>>, done: T) -> Poll<io::Result<T>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match written {
            Poll::Ready(Err(error)) if matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset) => {
                self.deaf = true;
                Poll::Ready(Ok(done))
            }
            written => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LastWords<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LastWords<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.told(written, bytes.len())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.told(flushed, ())
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

    /// Says something, and listens to nothing.
    struct Deaf(&'static [u8]);

    impl AsyncRead for Deaf {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
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
    fn what_a_deaf_server_says_is_heard() {
        let mut socket = LastWords::new(Deaf(b"too long"));
        let mut heard = String::new();
        block_on(async {
            socket.write_all(&[0; 1000]).await.unwrap();
            socket.write_all(&[0; 1000]).await.unwrap();
            socket.flush().await.unwrap();
            socket.read_to_string(&mut heard).await.unwrap();
        });
        assert_eq!(heard, "too long");
    }
}
