//! hyper's HTTP/1.1 client: how it is set up, and what its errors mean.

use std::error::Error as _;
use std::io;

use hyper::client::conn::http1;

use crate::error::OpenAiError;

/// hyper's client, with a limit for the head of a response.
pub(crate) fn builder(header_limit: usize) -> http1::Builder {
    /// The minimum size of hyper's read buffer. The limit for heads is set separately.
    const BUFFER: usize = 64 << 10;
    let mut builder = http1::Builder::new();
    builder.max_header_size(header_limit).max_buf_size(header_limit.max(BUFFER));
    builder
}

/// The error of a request that got no response.
pub(crate) fn no_response(error: hyper::Error, header_limit: usize) -> OpenAiError {
    // hyper has a method for this in its server only. A test checks that the message is still this.
    if error.is_parse() && error.to_string() == "message head is too large" {
        return OpenAiError::HeaderTooLarge { limit: header_limit };
    }
    let gone = matches!(
        io_kind(&error),
        Some(
            io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::UnexpectedEof
        )
    );
    let closed = gone || error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    let source = error.into();
    if closed { OpenAiError::ClosedBeforeResponse { source } } else { OpenAiError::Http { source } }
}

/// The kind of the I/O error that caused an error of hyper's, if one did.
pub(crate) fn io_kind(error: &hyper::Error) -> Option<io::ErrorKind> {
    error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind)
}
