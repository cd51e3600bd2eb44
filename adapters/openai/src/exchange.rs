//! One request, and the head of its response.

use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, LOCATION,
        RETRY_AFTER, USER_AGENT,
    },
};

use crate::{
    clock::{Clock, Due},
    endpoint::Endpoint,
    error::OpenAiError,
    error_body::ErrorBody,
    headers::Headers,
    inflate::Encoding,
    limits::Phase,
    response::{Leftovers, ResponseBody},
    secret::{KeyHeader, Secret, Secrets},
    server_info::ServerInfo,
    transport::Transport,
    wire::Chunk,
};

#[cfg(test)]
mod tests;

/// The maximum number of bytes that are read of an error's body.
const ERROR_BODY_BYTES: usize = 64 << 10;

/// The limit for reading an error's body. The status is known by then, and is more important.
const ERROR_BODY_TIME: Duration = Duration::from_secs(5);

const API_KEY: HeaderName = HeaderName::from_static("api-key");

const USER_AGENT_VALUE: HeaderValue =
    HeaderValue::from_static(concat!("rappel-openai/", env!("CARGO_PKG_VERSION")));

/// What kind of answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    Json,
    EventStream,
}

impl Accept {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::EventStream => "text/event-stream",
        }
    }
}

/// Returns `true` if a response of that type is read. Its first bytes say what it is, because many
/// servers send events as JSON, JSON as events, and either as text. Several types in one header are
/// read if one of them is.
fn admits(content_type: &str) -> bool {
    let mut types = content_type.split([',', ';']).map(|kind| kind.trim().to_ascii_lowercase());
    content_type.trim().is_empty()
        || types.any(|kind| {
            matches!(
                &*kind,
                "text/event-stream"
                    | "text/plain"
                    | "application/octet-stream"
                    | "application/x-ndjson"
                    | "application/jsonl"
            ) || kind.ends_with("/json")
                || kind.ends_with("+json")
        })
}

/// A response that may have an answer.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) body: ResponseBody,
    /// It has a length, so that a missing part of it is noticed.
    pub(crate) has_length: bool,
    /// Its content type, without secrets, if that is JSON and nothing else.
    pub(crate) json_type: Option<String>,
    /// What the headers say.
    pub(crate) server: Box<ServerInfo>,
}

/// What a request needs.
pub(crate) struct Exchange<'a> {
    pub(crate) transport: &'a dyn Transport,
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) key: Option<&'a Secret>,
    pub(crate) key_header: KeyHeader,
    /// The application's own headers.
    pub(crate) headers: &'a Headers,
    pub(crate) secrets: &'a Secrets,
    pub(crate) clock: &'a Clock,
    pub(crate) leftovers: &'a Arc<Leftovers>,
    /// The deadline of the whole call.
    pub(crate) total: Option<Due>,
}

impl Exchange<'_> {
    /// Sends `body` to a path below the endpoint's base URL. Returns a successful response. At most
    /// `limit` bytes of its body are read.
    ///
    /// Cancel safe: dropping the future, or the body that it returns, cancels the request.
    pub(crate) async fn post_json(
        &self,
        path: &'static str,
        body: Bytes,
        accept: Accept,
        limit: usize,
    ) -> Result<Accepted, OpenAiError> {
        self.leftovers.settle();
        let request = self.request(path, body, accept)?;
        let response =
            self.clock.within(Phase::FirstByte, self.total, self.transport.send(request)).await?;
        let (head, body) = response.into_parts();
        let (body, other) = match Encoding::of(&head.headers).decode(body) {
            Ok(body) => (Some(body), String::new()),
            Err(name) => (None, name),
        };
        let body = body.map(|body| {
            let clock = self.clock.clone();
            ResponseBody::new(body, clock, self.total, limit, self.leftovers.clone())
        });

        let server = Box::new(ServerInfo::of(&head.headers, |text| self.redact(text)));
        if head.status.is_redirection() {
            return Err(self.redirected(head.status, &head.headers));
        }
        if !head.status.is_success() {
            let said = match body {
                Some(mut body) => ErrorBody::parse(
                    &body.prefix(ERROR_BODY_BYTES, ERROR_BODY_TIME).await,
                    self.secrets,
                ),
                None => ErrorBody::default(),
            };
            return Err(self.status_error(path, head.status, &head.headers, said, server));
        }
        let Some(mut body) = body else {
            return Err(OpenAiError::Encoded { encoding: self.redact(&other) });
        };
        let content_type = head.headers.get(CONTENT_TYPE);
        let content_type =
            content_type.map_or("".into(), |value| String::from_utf8_lossy(value.as_bytes()));
        if admits(&content_type) {
            Ok(Accepted {
                server,
                body,
                has_length: head.headers.contains_key(CONTENT_LENGTH),
                json_type: (content_type.contains("json")
                    && !content_type.contains("event-stream"))
                .then(|| self.redact(&content_type)),
            })
        } else {
            Err(self.unexpected_type(accept, &content_type, &mut body, server).await)
        }
    }

    /// The key is meant for one host, so a redirect is not followed. The base URL has to be
    /// changed.
    fn redirected(&self, status: StatusCode, headers: &HeaderMap) -> OpenAiError {
        // The query may contain a secret.
        let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| location.split(['?', '#']).next());
        OpenAiError::Redirected {
            status: status.as_u16(),
            location: location.map(|location| self.redact(&without_name(location))),
        }
    }

    /// The error of a response that is not read. If it has an error as JSON, that is the error.
    async fn unexpected_type(
        &self,
        accept: Accept,
        content_type: &str,
        body: &mut ResponseBody,
        server: Box<ServerInfo>,
    ) -> OpenAiError {
        let said = body.prefix(ERROR_BODY_BYTES, ERROR_BODY_TIME).await;
        match Chunk::parse(&said) {
            Ok(answer) if answer.is_error() => {
                ErrorBody::parse(&said, self.secrets).into_reported(server)
            }
            _ => OpenAiError::ContentType {
                expected: accept.media_type(),
                found: self.redact(content_type),
            },
        }
    }

    fn redact(&self, text: &str) -> String {
        self.secrets.redact(text).into_owned()
    }

    fn request(
        &self,
        path: &'static str,
        body: Bytes,
        accept: Accept,
    ) -> Result<Request<Bytes>, OpenAiError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri(path)?;

        let headers = request.headers_mut();
        headers.insert(USER_AGENT, USER_AGENT_VALUE);
        headers.insert(ACCEPT, HeaderValue::from_static(accept.media_type()));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match (self.key, self.key_header) {
            (Some(key), KeyHeader::Bearer) => drop(headers.insert(AUTHORIZATION, key.bearer())),
            (Some(key), KeyHeader::ApiKey) => drop(headers.insert(API_KEY, key.plain())),
            (None, _) => {}
        }
        self.headers.apply(headers);
        Ok(request)
    }

    fn status_error(
        &self,
        path: &str,
        status: StatusCode,
        headers: &HeaderMap,
        said: ErrorBody,
        mut server: Box<ServerInfo>,
    ) -> OpenAiError {
        if status == StatusCode::NOT_FOUND {
            server.url = Some(self.redact(&self.endpoint.shown(path)));
        }
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
            should_retry: should_retry(headers),
            server,
        }
    }
}

/// The address without a user name and a password.
fn without_name(location: &str) -> Cow<'_, str> {
    if let Some((scheme, rest)) = location.split_once("//") {
        let host = rest.split('/').next().unwrap_or_default().rfind('@');
        if let Some(at) = host.filter(|_| scheme.is_empty() || scheme.ends_with(':')) {
            return format!("{scheme}//{}", &rest[at + 1..]).into();
        }
    }
    location.into()
}

/// OpenAI's own header, which some gateways have, too.
fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-should-retry")?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// The wait that the server asks for. `retry-after-ms` is OpenAI's own, and more precise.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|milliseconds| milliseconds / 1000.0);
    if let Some(seconds) = seconds.or_else(|| number(RETRY_AFTER.as_str())) {
        // A number that overflows must not become no wait at all.
        let endless = (seconds > 0.0).then_some(Duration::MAX);
        return Duration::try_from_secs_f64(seconds).ok().or(endless);
    }
    let until = httpdate::parse_http_date(text(RETRY_AFTER.as_str())?).ok()?;
    // The server's own clock is used if it sent the time, because the local one may be wrong.
    let now = text(DATE.as_str()).and_then(|date| httpdate::parse_http_date(date).ok());
    // A date in the past means no wait.
    Some(until.duration_since(now.unwrap_or_else(SystemTime::now)).unwrap_or_default())
}
