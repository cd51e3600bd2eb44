//! What can go wrong between a request and its answer.
//!
//! No variant ever holds the API key. What a server says in an error is
//! searched for the key before it is stored (servers do echo it), a base URL is
//! never repeated (people do put keys into URLs), and of a JSON error only its
//! kind and place are kept, since serde's own message quotes the input.

use core::{fmt, time::Duration};
use std::io;

use crate::limits::Phase;

/// A cause whose type is no part of this crate's interface.
pub(crate) type BoxError = Box<dyn core::error::Error + Send + Sync + 'static>;

/// Why a chat completion failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenAiError {
    /// No model was named.
    #[error("no model is named")]
    NoModel,

    /// The base URL can't be used. The URL itself is left out, as it may hold a password.
    #[error("invalid base URL: {reason}")]
    #[non_exhaustive]
    InvalidBaseUrl {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The base URL's scheme is neither `http` nor `https`.
    #[error("unsupported scheme `{scheme}`: only http and https are spoken here")]
    #[non_exhaustive]
    UnsupportedScheme {
        /// The scheme as given.
        scheme: String,
    },

    /// The proxy can't be used. Its URL is left out, as it may hold a password.
    #[error("invalid proxy: {reason}")]
    #[non_exhaustive]
    InvalidProxy {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The API key can't be sent in an HTTP header. Mostly it was read from a file, newline and all.
    #[error("the API key is empty, or holds white space or other than ASCII characters")]
    InvalidApiKey,

    /// A request parameter was set by hand that has a setting of its own.
    #[error("`{name}` has a setting of its own and can't be an extra parameter")]
    #[non_exhaustive]
    ReservedParameter {
        /// The parameter's name in the request.
        name: String,
    },

    /// A setting has a value that can't be sent.
    #[error("`{name}` {reason}")]
    #[non_exhaustive]
    InvalidParameter {
        /// The parameter's name in the request.
        name: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// A message can't be sent: nothing was.
    #[error("message {index} {reason}")]
    #[non_exhaustive]
    InvalidMessage {
        /// The message's place in its conversation, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The request could not be written as JSON.
    #[error("the request can't be written as JSON")]
    #[non_exhaustive]
    Encode {
        /// What serde said.
        source: BoxError,
    },

    /// An additional root certificate is not valid PEM, or not a usable certificate.
    #[error("invalid PEM of a root certificate")]
    #[non_exhaustive]
    InvalidCertificate {
        /// What the parser said.
        source: BoxError,
    },

    /// The base URL is `https`, and there is no root certificate to trust.
    #[error("no root certificate to verify the server with")]
    NoRoots,

    /// The host's name could not be resolved.
    #[error("could not resolve {host}")]
    #[non_exhaustive]
    Resolve {
        /// The host's name.
        host: String,
        /// What the system said.
        source: io::Error,
    },

    /// None of the host's addresses took the connection. The cause is that of the last one tried.
    #[error("could not connect to {host}:{port}")]
    #[non_exhaustive]
    Connect {
        /// The host's name or address.
        host: String,
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },

    /// The TLS handshake failed: among others, when the server's certificate isn't trusted.
    #[error("TLS handshake with {host} failed")]
    #[non_exhaustive]
    Tls {
        /// The name that the certificate was checked against.
        host: String,
        /// What rustls said.
        source: BoxError,
    },

    /// The peer doesn't speak HTTP/1.1 as it should.
    #[error("the server broke the HTTP protocol")]
    #[non_exhaustive]
    Http {
        /// What hyper said.
        source: BoxError,
    },

    /// The connection closed before the server sent a response.
    #[error("the server closed the connection before it answered")]
    #[non_exhaustive]
    ClosedBeforeResponse {
        /// What hyper said.
        source: BoxError,
    },

    /// The proxy does not connect to the server.
    #[error("the proxy answered {status}")]
    #[non_exhaustive]
    ProxyRefused {
        /// The proxy's HTTP status; 407 is for a wrong name or password.
        status: u16,
    },

    /// A transport of the application's own could not reach the server.
    #[error("could not reach the server")]
    #[non_exhaustive]
    Unreachable {
        /// What it said.
        source: BoxError,
    },

    /// A transport of the application's own failed.
    #[error("the transport failed")]
    #[non_exhaustive]
    Transport {
        /// What it said.
        source: BoxError,
    },

    /// A limit of time was over.
    #[error("{phase} within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// What was waited for.
        phase: Phase,
        /// The limit.
        limit: Duration,
    },

    /// The head of the response, or of a proxy's, is longer than the limit.
    #[error("the head of the response is longer than {limit} bytes")]
    #[non_exhaustive]
    HeaderTooLarge {
        /// The limit in bytes.
        limit: usize,
    },

    /// The server sends the request elsewhere. It is not followed, as the key is meant for one host: the base URL has to be changed.
    #[error("the server answered {status}: it redirects to {}", .location.as_deref().unwrap_or("nowhere"))]
    #[non_exhaustive]
    Redirected {
        /// The HTTP status.
        status: u16,
        /// Where to, without a query.
        location: Option<String>,
    },

    /// The response is compressed, which was not asked for.
    #[error("the response is encoded as {encoding}, which was not asked for")]
    #[non_exhaustive]
    Encoded {
        /// How: `gzip`, for example.
        encoding: String,
    },

    /// The server answered with a status other than success.
    #[error("the server answered {status}: {message}")]
    #[non_exhaustive]
    Status {
        /// The HTTP status.
        status: u16,
        /// The server's error code, such as `model_not_found`.
        code: Option<String>,
        /// The server's error type, such as `invalid_request_error`.
        kind: Option<String>,
        /// What the server said; the status in words if it said nothing.
        message: String,
        /// How long the server asks to wait, by its `retry-after`, or OpenAI's own and finer `retry-after-ms`.
        retry_after: Option<Duration>,
    },

    /// The server reported an error after it had answered with success: as an
    /// event in the middle of a stream, or in the place of a completion.
    #[error("the server reported an error: {message}")]
    #[non_exhaustive]
    Reported {
        /// The server's error code.
        code: Option<String>,
        /// The server's error type.
        kind: Option<String>,
        /// What the server said.
        message: String,
    },

    /// The response's content type is not what was asked for.
    #[error("expected a response of type {expected}, got {found}")]
    #[non_exhaustive]
    ContentType {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        found: String,
    },

    /// The response is longer than the limit.
    #[error("the response is longer than {limit} bytes")]
    #[non_exhaustive]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },

    /// The response is not a JSON object.
    #[error("the response is not valid JSON")]
    #[non_exhaustive]
    InvalidBody {
        /// Kind and place of the fault.
        source: BoxError,
    },

    /// The response is a JSON object without a single choice.
    #[error("the response holds no choices")]
    NoChoices,

    /// An event of the stream is not a JSON object.
    #[error("an event of the stream is not valid JSON")]
    #[non_exhaustive]
    InvalidEvent {
        /// Kind and place of the fault.
        source: BoxError,
    },

    /// The stream is not UTF-8.
    #[error("the stream is not valid UTF-8")]
    NotUtf8,

    /// One event of the stream is longer than the limit.
    #[error("an event of the stream is longer than {limit} bytes")]
    #[non_exhaustive]
    EventTooLarge {
        /// The limit in bytes.
        limit: usize,
    },

    /// The server kept sending, comments for example, but no event came of it.
    #[error("the stream carried more than {limit} bytes without an event")]
    #[non_exhaustive]
    NoEvents {
        /// The limit in bytes.
        limit: usize,
    },

    /// The response broke off. What came before it was delivered.
    #[error("the response broke off before its end")]
    #[non_exhaustive]
    Cut {
        /// What the connection said; `None` when it ended in good order, and
        /// only the answer in it did not.
        source: Option<BoxError>,
    },
}

impl OpenAiError {
    /// Whether the same request, sent again, may well succeed.
    ///
    /// After [`Cut`](Self::Cut) a part of the answer may have been delivered
    /// already; whoever retries starts the answer anew.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { phase: Phase::Connect, .. }
            | Self::ClosedBeforeResponse { .. }
            | Self::Cut { .. } => true,
            // What a handshake fails of otherwise is a certificate, or a server without TLS.
            Self::Tls { source, .. } => source
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() != io::ErrorKind::InvalidData),
            Self::Status { status, .. } | Self::ProxyRefused { status, .. } => matches!(status, 408 | 409 | 429 | 500..=599),
            _ => false,
        }
    }

    /// For a [`Transport`](crate::Transport): the request did not reach the server, and may be sent again.
    ///
    /// What `source` says must not hold a header's value, as one of them is the key.
    pub fn unreachable(source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self::Unreachable { source: source.into() }
    }

    /// For a [`Transport`](crate::Transport): the request failed. As for [`unreachable`](Self::unreachable), without the key.
    pub fn transport(source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self::Transport { source: source.into() }
    }

    /// For a [`Transport`](crate::Transport): the response broke off. As for [`unreachable`](Self::unreachable), without the key.
    pub fn cut(source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        Self::Cut {
            source: Some(source.into()),
        }
    }

    pub(crate) fn body(fault: JsonFault) -> Self {
        Self::InvalidBody { source: Box::new(fault) }
    }

    pub(crate) fn event(fault: JsonFault) -> Self {
        Self::InvalidEvent { source: Box::new(fault) }
    }
}

/// What is wrong with a JSON text, without a word of the text itself.
#[derive(Debug)]
pub(crate) enum JsonFault {
    NotAnObject,
    Broken { what: &'static str, line: usize, column: usize },
}

impl From<serde_json::Error> for JsonFault {
    fn from(error: serde_json::Error) -> Self {
        use serde_json::error::Category;

        Self::Broken {
            what: match error.classify() {
                Category::Eof => "unexpected end",
                Category::Data => "unexpected data",
                Category::Syntax | Category::Io => "syntax error",
            },
            line: error.line(),
            column: error.column(),
        }
    }
}

impl fmt::Display for JsonFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::Broken { what, line, column } => {
                write!(f, "{what} at line {line}, column {column}")
            }
        }
    }
}

impl core::error::Error for JsonFault {}

#[cfg(test)]
mod tests {
    use super::*;

    static_assertions::assert_impl_all!(OpenAiError: Send, Sync, core::error::Error);

    fn status(status: u16) -> OpenAiError {
        OpenAiError::Status {
            status,
            code: None,
            kind: None,
            message: String::new(),
            retry_after: None,
        }
    }

    #[test]
    fn what_passes_by_itself_is_worth_a_retry() {
        for code in [408, 409, 429, 500, 503, 529] {
            assert!(status(code).is_retryable(), "{code}");
        }
        for code in [301, 400, 401, 404, 422] {
            assert!(!status(code).is_retryable(), "{code}");
        }
        assert!(OpenAiError::Cut { source: None }.is_retryable());
        assert!(!OpenAiError::NotUtf8.is_retryable());
    }
}
