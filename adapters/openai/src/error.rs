//! The errors of requests.
//!
//! No variant contains the API key. The key is replaced in a server's message before the message is
//! stored, because some servers repeat it. A base URL is never stored, because some URLs contain a
//! key. Of a JSON error, only the kind and the position are stored, because serde's message quotes
//! the input.

mod json_fault;
mod kinds;

use core::{fmt, time::Duration};
use std::io;

pub(crate) use json_fault::JsonFault;

use crate::limits::Phase;
use crate::server_info::ServerInfo;

/// A cause whose type is not part of this crate's API.
pub(crate) type BoxError = Box<dyn core::error::Error + Send + Sync + 'static>;

/// Why a chat completion failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenAiError {
    /// No model was set.
    #[error("no model is set: call `model`")]
    NoModel,

    /// The base URL is invalid. The URL itself is left out, because it may contain a password.
    #[error("invalid base URL: {reason}")]
    #[non_exhaustive]
    InvalidBaseUrl {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The base URL's scheme is neither `http` nor `https`.
    #[error("unsupported scheme `{scheme}`: only http and https are supported")]
    #[non_exhaustive]
    UnsupportedScheme {
        /// The scheme as given.
        scheme: String,
    },

    /// The proxy is invalid. Its URL is left out, because it may contain a password.
    #[error("invalid proxy: {reason}")]
    #[non_exhaustive]
    InvalidProxy {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The API key can't be sent in an HTTP header. A common reason is a line break from the file
    /// that it was read from.
    #[error("the API key is empty, or contains white space or characters that are not ASCII")]
    InvalidApiKey,

    /// A header cannot be sent. Its value is left out, because it may be a secret.
    #[error("the header `{name}` {reason}")]
    #[non_exhaustive]
    InvalidHeader {
        /// The name of the header.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// An extra parameter has a setting of its own.
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

    /// A message can't be sent. No request was made.
    #[error("message {index} {reason}")]
    #[non_exhaustive]
    InvalidMessage {
        /// The index of the message in its conversation.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The request could not be written as JSON.
    #[error("the request can't be written as JSON")]
    #[non_exhaustive]
    Encode {
        /// The error of serde.
        source: BoxError,
    },

    /// A root certificate is not valid PEM, or not a valid certificate.
    #[error("a root certificate is not valid PEM")]
    #[non_exhaustive]
    InvalidCertificate {
        /// The error of the parser.
        source: BoxError,
    },

    /// The base URL is `https`, and no root certificate is trusted.
    #[error(
        "there is no root certificate to verify the server with: set `roots`, or add `root_certificates`"
    )]
    NoRoots,

    /// The operating system has no root certificate that can be read.
    #[error("no root certificate of the system can be read: install some, or set SSL_CERT_FILE")]
    #[non_exhaustive]
    NoSystemRoots {
        /// The last error of a file.
        source: Option<BoxError>,
    },

    /// The host's name could not be resolved.
    #[error("could not resolve {host}")]
    #[non_exhaustive]
    Resolve {
        /// The host's name.
        host: String,
        /// The error of the operating system.
        source: io::Error,
    },

    /// None of the host's addresses accepted the connection. The cause is that of the last one.
    #[error("could not connect to {host}:{port}")]
    #[non_exhaustive]
    Connect {
        /// The host's name or address.
        host: String,
        /// The port.
        port: u16,
        /// The error of the operating system.
        source: io::Error,
    },

    /// The TLS handshake failed. One reason is a certificate that isn't trusted.
    #[error("TLS handshake with {host} failed")]
    #[non_exhaustive]
    Tls {
        /// The name that the certificate must have.
        host: String,
        /// The error of rustls.
        source: BoxError,
    },

    /// The server violated the HTTP/1.1 protocol.
    #[error("the server violated the HTTP protocol")]
    #[non_exhaustive]
    Http {
        /// The error of hyper.
        source: BoxError,
    },

    /// The connection closed before the server sent a response.
    #[error("the server closed the connection before it answered")]
    #[non_exhaustive]
    ClosedBeforeResponse {
        /// The error of hyper.
        source: BoxError,
    },

    /// The proxy refused to connect to the server.
    #[error("the proxy answered {status}")]
    #[non_exhaustive]
    ProxyRefused {
        /// The proxy's HTTP status. 407 means a wrong user name or password.
        status: u16,
    },

    /// The application's own transport could not reach the server.
    #[error("could not reach the server")]
    #[non_exhaustive]
    Unreachable {
        /// The error of the transport.
        source: BoxError,
    },

    /// The application's own transport failed.
    #[error("the transport failed")]
    #[non_exhaustive]
    Transport {
        /// The error of the transport.
        source: BoxError,
    },

    /// A time limit was exceeded.
    #[error("{phase} within {limit:?}")]
    #[non_exhaustive]
    TimedOut {
        /// What the request was waiting for.
        phase: Phase,
        /// The limit.
        limit: Duration,
    },

    /// The head of the response, or of the proxy's response, is longer than the limit.
    #[error(
        "the head of the response is longer than {limit} bytes: `max_header_bytes` sets the limit"
    )]
    #[non_exhaustive]
    HeaderTooLarge {
        /// The limit in bytes.
        limit: usize,
    },

    /// The server redirects. Redirects are not followed, because the key is meant for one host.
    /// Change the base URL instead.
    #[error("the server answered {status}: it redirects to {}", .location.as_deref().unwrap_or("nowhere"))]
    #[non_exhaustive]
    Redirected {
        /// The HTTP status.
        status: u16,
        /// The new address, without its query.
        location: Option<String>,
    },

    /// The response is compressed in a way that is not supported, or its compressed data is broken.
    /// `gzip` and `deflate` are supported. Compression is never requested.
    #[error("the response is encoded as {encoding} and cannot be decoded")]
    #[non_exhaustive]
    Encoded {
        /// The encoding, such as `gzip`.
        encoding: String,
    },

    /// The server answered with a status other than success.
    #[error("the server answered {status}: {message}{}", Place(&.server.url))]
    #[non_exhaustive]
    Status {
        /// The HTTP status.
        status: u16,
        /// The server's error code, such as `model_not_found`.
        code: Option<String>,
        /// The server's error type, such as `invalid_request_error`.
        kind: Option<String>,
        /// The server's message, or the name of the status if there is none.
        message: String,
        /// The wait that the server asks for, by `retry-after` or by OpenAI's own `retry-after-ms`.
        retry_after: Option<Duration>,
        /// Whether the server asks for a retry, by `x-should-retry`. It counts more than the status.
        should_retry: Option<bool>,
        /// What the headers say: the id of the request, rate limits.
        server: Box<ServerInfo>,
    },

    /// The server reported an error after a status of success: as an event in the middle of a
    /// stream, or in place of an answer.
    #[error("the server reported an error: {message}")]
    #[non_exhaustive]
    Reported {
        /// The server's error code.
        code: Option<String>,
        /// The server's error type.
        kind: Option<String>,
        /// The server's message.
        message: String,
        /// What the headers say: the id of the request, rate limits.
        server: Box<ServerInfo>,
    },

    /// The response has another content type than requested.
    #[error("expected a response of type {expected}, got {found}")]
    #[non_exhaustive]
    ContentType {
        /// The requested type.
        expected: &'static str,
        /// The type of the response.
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
        /// The kind and the position of the error.
        source: BoxError,
    },

    /// The response has no choices.
    #[error("the response has no choices")]
    NoChoices,

    /// An event of the stream is not a JSON object.
    #[error("an event of the stream is not valid JSON")]
    #[non_exhaustive]
    InvalidEvent {
        /// The kind and the position of the error.
        source: BoxError,
    },

    /// The response is not text. One reason is a compression that its headers do not name.
    #[error("the response is not text: it may be compressed without a content-encoding")]
    NotUtf8,

    /// One event of the stream is longer than the limit.
    #[error(
        "an event of the stream is longer than {limit} bytes: `max_event_bytes` sets the limit"
    )]
    #[non_exhaustive]
    EventTooLarge {
        /// The limit in bytes.
        limit: usize,
    },

    /// The server kept sending, comments for example, but no event.
    #[error("the stream carried more than {limit} bytes without an event")]
    #[non_exhaustive]
    NoEvents {
        /// The limit in bytes.
        limit: usize,
    },

    /// The response broke off. What arrived before that was delivered.
    #[error("the response broke off before its end")]
    #[non_exhaustive]
    Cut {
        /// The error of the connection, or `None` if the response was complete, but the answer in
        /// it was not.
        source: Option<BoxError>,
    },
}

/// The address of a request, as an end of a message.
struct Place<'a>(&'a Option<String>);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(url) = self.0 else {
            return Ok(());
        };
        write!(f, " (at {url}")?;
        if !has_version(url) {
            f.write_str(": is `/v1` missing in the base URL?")?;
        }
        f.write_str(")")
    }
}

/// Returns `true` if the path of an address names a version: `/v1/…`, `/api/v3/…`.
fn has_version(url: &str) -> bool {
    url.split('/').any(|part| {
        let digits = part.strip_prefix('v').unwrap_or_default();
        digits.starts_with(|first: char| first.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_in_an_address_is_found() {
        for url in ["http://h/v1/chat", "http://h/api/v1beta/openai"] {
            assert!(has_version(url), "{url}");
        }
        for url in ["http://h/chat/completions", "http://v.ai/vision/x"] {
            assert!(!has_version(url), "{url}");
        }
    }
}
