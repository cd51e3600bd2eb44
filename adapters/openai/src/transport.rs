//! One request, one connection, no task.

use core::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    time::Duration,
};
use std::io;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request,
    header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use smol_hyper::rt::FuturesIo;

use crate::{
    body::{Body, Connection, io_kind},
    endpoint::Endpoint,
    error::OpenAiError,
    error_body::ErrorBody,
    secret::Secret,
    socket::{Connector, Socket},
};

#[cfg(test)]
mod tests;

/// As much of an error's body as is read.
const ERROR_BODY_BYTES: usize = 64 << 10;

const USER_AGENT_VALUE: HeaderValue = HeaderValue::from_static(concat!("rappel-openai/", env!("CARGO_PKG_VERSION")));

/// What kind of answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    Json,
    EventStream,
}

impl Accept {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::EventStream => "text/event-stream",
        }
    }

    /// Whether a response of that type may be read. A server that names none is
    /// taken at its word, and some serve JSON as plain text.
    fn admits(self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let essence = essence.to_ascii_lowercase();
        match self {
            Self::EventStream => matches!(&*essence, "" | "text/event-stream"),
            Self::Json => {
                matches!(&*essence, "" | "text/plain" | "application/octet-stream")
                    || essence.ends_with("/json")
                    || essence.ends_with("+json")
            }
        }
    }
}

/// Sends `body` to a path below the endpoint's base URL, and gives back the
/// body of a successful response of the type asked for.
///
/// Cancel safe: dropping the future, or the body it gives, closes the connection.
pub(crate) async fn post_json(
    connector: &Connector,
    path: &'static str,
    key: Option<&Secret>,
    body: Bytes,
    accept: Accept,
) -> Result<Body, OpenAiError> {
    let request = request(connector.endpoint(), path, key, body, accept)?;
    let socket = connector.connect().await?;
    let (head, mut body) = exchange(socket, request).await?.into_parts();

    if !head.status.is_success() {
        let said = body.prefix(ERROR_BODY_BYTES).await;
        let said = ErrorBody::parse(&said, key);
        return Err(status_error(head.status, &head.headers, said));
    }
    let content_type = head.headers.get(CONTENT_TYPE);
    let content_type = content_type.map_or("".into(), |value| String::from_utf8_lossy(value.as_bytes()));
    if accept.admits(&content_type) {
        Ok(body)
    } else {
        Err(unexpected_type(accept, &content_type, &mut body, key).await)
    }
}

fn request(
    endpoint: &Endpoint,
    path: &'static str,
    key: Option<&Secret>,
    body: Bytes,
    accept: Accept,
) -> Result<Request<Full<Bytes>>, OpenAiError> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.target(path)?.into();

    let headers = request.headers_mut();
    headers.insert(HOST, endpoint.host_header());
    headers.insert(USER_AGENT, USER_AGENT_VALUE);
    headers.insert(ACCEPT, HeaderValue::from_static(accept.media_type()));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // There is no pool that a second request could come from.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(key) = key {
        headers.insert(AUTHORIZATION, key.bearer());
    }
    Ok(request)
}

/// Sends the request and waits for the head of the response.
async fn exchange(socket: Socket, request: Request<Full<Bytes>>) -> Result<http::Response<Body>, OpenAiError> {
    let (mut sender, connection) = http1::handshake(FuturesIo::new(socket)).await.map_err(no_response)?;
    let response = sender.send_request(request);
    let mut connection = Some(connection);
    let response = drive(&mut connection, response).await.map_err(no_response)?;
    Ok(response.map(|incoming| Body::new(connection, incoming)))
}

/// Polls the connection until the response is there. A short response may end
/// the connection at the same time; that is when `connection` becomes `None`.
async fn drive(
    connection: &mut Option<Connection>,
    response: impl Future<Output = hyper::Result<http::Response<Incoming>>>,
) -> hyper::Result<http::Response<Incoming>> {
    let mut response = pin!(response);
    poll_fn(|cx| {
        if let Some(running) = connection {
            // The connection hands an error to whoever waits for the response.
            if Pin::new(running).poll(cx).is_ready() {
                *connection = None;
            }
        }
        response.as_mut().poll(cx)
    })
    .await
}

fn no_response(error: hyper::Error) -> OpenAiError {
    let gone = matches!(
        io_kind(&error),
        Some(io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof)
    );
    let closed = gone || error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    let source = error.into();
    if closed {
        OpenAiError::ClosedBeforeResponse { source }
    } else {
        OpenAiError::Http { source }
    }
}

fn status_error(status: http::StatusCode, headers: &HeaderMap, said: ErrorBody) -> OpenAiError {
    OpenAiError::Status {
        status: status.as_u16(),
        code: said.code,
        kind: said.kind,
        message: if said.message.is_empty() {
            status.canonical_reason().unwrap_or("no reason given").into()
        } else {
            said.message
        },
        retry_after: retry_after(headers),
    }
}

/// `retry-after-ms` is OpenAI's own, and finer.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms")
        .map(|milliseconds| milliseconds / 1000.0)
        .or_else(|| number(RETRY_AFTER.as_str()))?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Some servers answer a streaming request with success and one JSON object
/// that says why there is no stream.
async fn unexpected_type(accept: Accept, content_type: &str, body: &mut Body, key: Option<&Secret>) -> OpenAiError {
    if Accept::Json.admits(content_type) {
        let said = body.prefix(ERROR_BODY_BYTES).await;
        if let Ok(answer) = crate::wire::Chunk::parse(&said) {
            if answer.is_error() {
                return ErrorBody::parse(&said, key).into_reported();
            }
        }
    }
    OpenAiError::ContentType {
        expected: accept.media_type(),
        found: match key {
            Some(key) => key.redact(content_type).into_owned(),
            None => content_type.to_owned(),
        },
    }
}
