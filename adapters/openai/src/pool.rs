//! Idle connections, kept for the next request.

use core::fmt;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};
use http_body_util::Full;
use hyper::client::conn::http1;
use smol_hyper::rt::FuturesIo;

use crate::clock::Clock;
use crate::socket::Socket;

/// The half of hyper's client that moves bytes. It does nothing unless polled.
pub(crate) type Connection = http1::Connection<FuturesIo<Socket>, Full<Bytes>>;

/// Both halves of a connection.
pub(crate) struct Link {
    pub(crate) sender: http1::SendRequest<Full<Bytes>>,
    pub(crate) connection: Connection,
    pub(crate) received: Received,
}

/// Whether a byte has been received over a connection since the last request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Arc<AtomicBool>);

impl Received {
    pub(crate) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) fn anything(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The same socket, which notes what it receives.
    pub(crate) fn watch(&self, socket: Socket) -> Socket {
        Box::new(Watched { socket, received: self.clone() })
    }
}

struct Watched {
    socket: Socket,
    received: Received,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(1..))) {
            self.received.0.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched {
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

impl Link {
    /// Returns `true` if another request can be sent over it. It polls the connection, which is not
    /// polled between two requests and may have been closed.
    pub(crate) fn is_ready(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.connection).poll(&mut cx).is_pending() && self.sender.is_ready()
    }
}

/// The idle connections to one server.
pub(crate) struct Pool {
    /// A stack: the most recently used connection is taken first, so that the others expire.
    idle: Mutex<Vec<Idle>>,
    most: usize,
    clock: Clock,
}

struct Idle {
    link: Link,
    since: Duration,
}

impl Pool {
    /// Servers, and the middleboxes in front of them, drop connections that are idle for longer
    /// than this. Some do so silently.
    const OLDEST: Duration = Duration::from_secs(55);

    /// A pool that keeps at most `most` connections.
    pub(crate) fn new(most: usize, clock: Clock) -> Self {
        Self { idle: Mutex::default(), most, clock }
    }

    /// Returns `true` if the pool keeps connections at all.
    pub(crate) fn keeps(&self) -> bool {
        self.most > 0
    }

    /// Takes a connection that is open, as far as can be seen without sending.
    pub(crate) fn take(&self) -> Option<Link> {
        let now = self.clock.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { mut link, since }) = idle.pop() {
            if now.saturating_sub(since) > Self::OLDEST {
                // The ones below it are older.
                idle.clear();
            } else if link.is_ready() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection. Its last response must have been read to the end.
    pub(crate) fn put(&self, mut link: Link) {
        if !self.keeps() || !link.is_ready() {
            return;
        }
        let since = self.clock.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() == self.most {
            idle.remove(0);
        }
        idle.push(Idle { link, since });
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("most", &self.most).finish_non_exhaustive()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}
