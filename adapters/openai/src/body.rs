//! A response's body, and the connection that brings it.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use std::{error::Error as StdError, io};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    client::conn::http1,
};
use smol_hyper::rt::FuturesIo;

use crate::{budget::Budget, error::OpenAiError, socket::Socket};

/// The half of hyper's client that moves bytes. It does nothing unless polled.
pub(crate) type Connection = http1::Connection<FuturesIo<Socket>, Full<Bytes>>;

/// The bytes of a response.
///
/// It owns the connection and polls it together with the body, where other
/// clients would spawn it: so it needs no runtime, and dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct Body {
    /// `None` once it is over, or else the body would wait for it for ever.
    connection: Option<Connection>,
    /// Why the connection ended; the body itself only learns that it did.
    failure: Option<hyper::Error>,
    /// `None` once everything has been read.
    incoming: Option<Incoming>,
    budget: Budget,
}

impl Body {
    pub(crate) fn new(connection: Option<Connection>, incoming: Incoming) -> Self {
        Self {
            connection,
            failure: None,
            incoming: Some(incoming),
            budget: Budget::new(),
        }
    }

    /// The whole body, or an error when it is longer than `limit`.
    pub(crate) async fn collect(&mut self, limit: usize) -> Result<Vec<u8>, OpenAiError> {
        let mut whole = Vec::new();
        while let Some(bytes) = self.next().await.transpose()? {
            if bytes.len() > limit - whole.len() {
                return Err(OpenAiError::BodyTooLarge { limit });
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole)
    }

    /// What can be had of the first `limit` bytes: enough to explain an error,
    /// even when the connection breaks meanwhile.
    pub(crate) async fn prefix(&mut self, limit: usize) -> Vec<u8> {
        let mut prefix = Vec::new();
        while prefix.len() < limit {
            let Some(Ok(bytes)) = self.next().await else {
                break;
            };
            prefix.extend_from_slice(&bytes[..bytes.len().min(limit - prefix.len())]);
        }
        prefix
    }

    /// What has been received comes before the socket: when the connection
    /// breaks, the bytes before the break are still delivered.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, OpenAiError>>> {
        let received = self.poll_incoming(cx);
        if received.is_ready() {
            return received;
        }
        if let Some(connection) = &mut self.connection {
            if let Poll::Ready(end) = Pin::new(connection).poll(cx) {
                self.failure = end.err();
                // It holds the sending half of the body, which ends with it.
                self.connection = None;
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
                    self.close();
                    let error = self.failure.take().unwrap_or(error);
                    return Poll::Ready(Some(Err(broken(error))));
                }
                None => {
                    self.close();
                    let failure = self.failure.take();
                    return Poll::Ready(failure.map(|error| Err(broken(error))));
                }
            }
        }
        Poll::Ready(None)
    }

    fn close(&mut self) {
        self.connection = None;
        self.incoming = None;
    }
}

impl Stream for Body {
    type Item = Result<Bytes, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        ready!(this.budget.poll_spend(cx));
        let bytes = this.poll_bytes(cx);
        if bytes.is_pending() {
            this.budget.refill();
        }
        bytes
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
