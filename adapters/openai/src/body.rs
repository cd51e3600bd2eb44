//! A response's body as it comes over a connection of ours.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::{error::Error as StdError, io, sync::Arc};

use bytes::Bytes;
use futures_core::Stream;
use hyper::body::{Body as _, Incoming};

use crate::{
    error::OpenAiError,
    pool::{Link, Pool},
};

/// The bytes of a response.
///
/// It owns the connection and polls it together with the body, where other
/// clients would spawn it: so it needs no runtime. Dropped before its end, it
/// closes the socket; read to its end, it gives the connection back.
#[derive(Debug)]
pub(crate) struct Body {
    /// `None` once it is over, or else the body would wait for it for ever.
    link: Option<Link>,
    /// Why the connection ended; the body itself only learns that it did.
    failure: Option<hyper::Error>,
    /// `None` once everything has been read.
    incoming: Option<Incoming>,
    pool: Arc<Pool>,
}

impl Body {
    pub(crate) fn new(link: Option<Link>, incoming: Incoming, pool: Arc<Pool>) -> Self {
        Self {
            link,
            failure: None,
            incoming: Some(incoming),
            pool,
        }
    }

    /// What has been received comes before the socket: when the connection
    /// breaks, the bytes before the break are still delivered.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, OpenAiError>>> {
        let received = self.poll_incoming(cx);
        if received.is_ready() {
            return received;
        }
        if let Some(link) = &mut self.link {
            if let Poll::Ready(end) = Pin::new(&mut link.connection).poll(cx) {
                self.failure = end.err();
                // It holds the sending half of the body, which ends with it.
                self.link = None;
            }
        }
        self.poll_incoming(cx)
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, OpenAiError>>> {
        while let Some(incoming) = &mut self.incoming {
            match ready!(Pin::new(incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    // Trailers tell us nothing.
                }
                Some(Err(error)) => {
                    self.link = None;
                    self.incoming = None;
                    let error = self.failure.take().unwrap_or(error);
                    return Poll::Ready(Some(Err(broken(error))));
                }
                None => {
                    self.incoming = None;
                    if let Some(link) = self.link.take() {
                        self.pool.put(link);
                    }
                    let failure = self.failure.take();
                    return Poll::Ready(failure.map(|error| Err(broken(error))));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_bytes(cx)
    }
}

/// Garbage where the protocol wants a length is the server's fault; all else
/// that stops a body is a connection that went away.
fn broken(error: hyper::Error) -> OpenAiError {
    let garbage = matches!(io_kind(&error), Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    if garbage {
        OpenAiError::Http { source: error.into() }
    } else {
        OpenAiError::Cut {
            source: Some(error.into()),
        }
    }
}

/// The kind of the I/O error behind an error of hyper's, if that is what it is.
pub(crate) fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .map(io::Error::kind)
}
