//! The body of a response over one of our own connections.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use hyper::body::{Body as _, Incoming};

use crate::error::OpenAiError;
use crate::hyper_client::io_kind;
use crate::pool::{Link, Pool};

/// The bytes of a response.
///
/// It owns the connection and polls it together with the body, so it needs no task and no runtime.
/// Dropped before its end, it closes the socket. Read to its end, it returns the connection to the
/// pool.
#[derive(Debug)]
pub(crate) struct Body {
    /// `None` once the connection has ended. Otherwise the body would wait for it forever.
    link: Option<Link>,
    /// Why the connection ended. The body itself only reports that it did.
    failure: Option<hyper::Error>,
    /// `None` once everything has been read.
    incoming: Option<Incoming>,
    pool: Arc<Pool>,
}

impl Body {
    pub(crate) fn new(link: Option<Link>, incoming: Incoming, pool: Arc<Pool>) -> Self {
        Self { link, failure: None, incoming: Some(incoming), pool }
    }

    /// Polls the received bytes before the socket, so that the bytes before a broken connection are
    /// still delivered.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, OpenAiError>>> {
        let received = self.poll_incoming(cx);
        if received.is_ready() {
            return received;
        }
        if let Some(link) = &mut self.link {
            if let Poll::Ready(end) = Pin::new(&mut link.connection).poll(cx) {
                self.failure = end.err();
                // The connection holds the sending half of the body, which ends with it.
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
                    // Trailers are ignored.
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

/// An invalid length is the server's fault. Everything else that stops a body is a connection that
/// was lost.
fn broken(error: hyper::Error) -> OpenAiError {
    let garbage =
        matches!(io_kind(&error), Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    if garbage {
        OpenAiError::Http { source: error.into() }
    } else {
        OpenAiError::Cut { source: Some(error.into()) }
    }
}
