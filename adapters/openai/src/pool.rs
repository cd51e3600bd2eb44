//! Connections that wait for the next request.

use core::fmt;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
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
}

impl Link {
    /// Whether another request can go over it. The connection is asked, since nobody polls it between two requests: it may have been closed.
    pub(crate) fn is_ready(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.connection).poll(&mut cx).is_pending() && self.sender.is_ready()
    }
}

/// The idle connections to one server.
pub(crate) struct Pool {
    /// The last one in is the first one out: so the others grow old, and are closed.
    idle: Mutex<Vec<Idle>>,
    most: usize,
    clock: Clock,
}

struct Idle {
    link: Link,
    since: Duration,
}

impl Pool {
    /// Servers and the middleboxes before them forget connections that are idle for longer than that, some without a word.
    const OLDEST: Duration = Duration::from_secs(55);

    /// At most `most` connections are kept.
    pub(crate) fn new(most: usize, clock: Clock) -> Self {
        Self {
            idle: Mutex::default(),
            most,
            clock,
        }
    }

    /// Whether it keeps any.
    pub(crate) fn keeps(&self) -> bool {
        self.most > 0
    }

    /// A connection that looks as if it were alive.
    pub(crate) fn take(&self) -> Option<Link> {
        let now = self.clock.now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle { mut link, since }) = idle.pop() {
            if now.saturating_sub(since) > Self::OLDEST {
                // Those below it are older still.
                idle.clear();
            } else if link.is_ready() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection whose response has been read to its end.
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
