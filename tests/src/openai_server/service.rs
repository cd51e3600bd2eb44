//! The answer to a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::Value;

use super::answer::{Answer, error};
use super::body::{Step, body, stream_of, whole};
use super::script::Fault;
use super::{Request, State};

type Body = StreamBody<Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>>;

/// The largest request that is read.
const MOST_BYTES: usize = 16 << 20;

/// A refusal: its status and its body.
struct Refusal(StatusCode, Value);

/// A request that is never answered. It is dropped when the client disconnects.
struct Stalled(Arc<State>);

impl Drop for Stalled {
    fn drop(&mut self) {
        self.0.note(|seen| seen.broken_off += 1);
    }
}

pub(super) async fn answer(
    state: Arc<State>,
    request: hyper::Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (json, number) = match accept(&state, request).await {
        Ok(accepted) => accepted,
        Err(Refusal(status, body)) => {
            let body = Step::Send(body.to_string().into());
            return respond(&state, head(&state, status, "application/json", None), [body]);
        }
    };
    let script = &state.script;
    let fault = script.fault.as_ref().filter(|_| number < script.faults);
    match fault {
        Some(Fault::CutBeforeHeaders) => return Err(io::ErrorKind::ConnectionAborted.into()),
        Some(Fault::StallBeforeHeaders) => {
            let _stalled = Stalled(state.clone());
            std::future::pending().await
        }
        Some(Fault::Status(status, body)) => {
            let status = StatusCode::from_u16(*status).map_err(io::Error::other)?;
            let body = Step::Send(body.clone().into());
            return respond(&state, head(&state, status, "application/json", fault), [body]);
        }
        Some(Fault::Redirect(location)) => {
            let head = head(&state, StatusCode::TEMPORARY_REDIRECT, "text/html", fault)
                .header("location", location);
            return respond(&state, head, []);
        }
        _ => {}
    }
    let answer = Answer::new(script, &json);
    let (content_type, steps) = if json["stream"] == true {
        let mut events: Vec<String> = answer.events();
        if !answer.is_response() {
            events.push("[DONE]".to_owned());
        }
        ("text/event-stream", stream_of(script, fault, events))
    } else {
        ("application/json", whole(script, fault, &answer.whole()))
    };
    let mut head = head(&state, StatusCode::OK, content_type, fault);
    if let Some(Fault::LyingLength(by)) = fault {
        let length: usize = steps.iter().map(Step::len).sum();
        head = head.header("content-length", length.saturating_add_signed(*by));
    }
    respond(&state, head, steps)
}

/// The head of an answer, with the fault.
fn head(
    state: &State,
    status: StatusCode,
    content_type: &str,
    fault: Option<&Fault>,
) -> http::response::Builder {
    let content_type = match fault {
        Some(Fault::WrongContentType) => "text/html",
        _ => content_type,
    };
    let mut head = Response::builder().status(status).header("content-type", content_type);
    for (name, value) in &state.script.headers {
        head = head.header(name, value);
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        head = head.header("retry-after", &state.script.retry_after);
    }
    match fault {
        Some(Fault::Gzip) => head.header("content-encoding", "gzip"),
        Some(Fault::LongHead(bytes)) => head.header("x-long", "x".repeat(*bytes)),
        _ => head,
    }
}

fn respond(
    state: &Arc<State>,
    head: http::response::Builder,
    steps: impl IntoIterator<Item = Step>,
) -> io::Result<Response<Body>> {
    let body: Pin<Box<dyn Stream<Item = _> + Send>> =
        Box::pin(body(state.clone(), steps.into_iter().collect::<Vec<_>>()));
    head.body(StreamBody::new(body)).map_err(io::Error::other)
}

/// Checks a request as OpenAI's servers do, and records it. Returns its JSON, and the number of
/// requests before it.
async fn accept(
    state: &State,
    request: hyper::Request<Incoming>,
) -> Result<(Value, usize), Refusal> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let is_azure = path.starts_with("/openai/deployments/") && path.ends_with("/chat/completions");
    let is_responses = path == "/v1/responses";
    if path != "/v1/chat/completions" && !is_responses && !is_azure {
        return Err(refuse(StatusCode::NOT_FOUND, "not_found", "no such path"));
    }
    if head.method != Method::POST {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "use POST"));
    }
    let bytes = match Limited::new(body, MOST_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Err(refuse(
                StatusCode::BAD_REQUEST,
                "unreadable",
                "the body is incomplete or too large",
            ));
        }
    };
    let authorization =
        head.headers.get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let json: Value = match serde_json::from_slice(&bytes) {
        Ok(json) => json,
        Err(_) => {
            return Err(refuse(StatusCode::BAD_REQUEST, "invalid_json", "the body is not JSON"));
        }
    };
    let mut number = 0;
    state.note(|seen| {
        number = seen.requests.len();
        seen.requests.push(Request {
            path,
            query: head.uri.query().map(str::to_owned),
            headers: headers(&head.headers),
            authorization: authorization.clone(),
            body: json.clone(),
        });
    });
    check_key(state, authorization.as_deref())?;
    check_quirks(state, &json)?;
    let conversation = if is_responses { "input" } else { "messages" };
    if !json["model"].is_string() || !json[conversation].is_array() {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "missing_field",
            "a request has a model and messages",
        ));
    }
    Ok((json, number))
}

fn headers(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn check_quirks(state: &State, json: &Value) -> Result<(), Refusal> {
    let refuse = |message| Err(refuse(StatusCode::BAD_REQUEST, "invalid_request", message));
    if state.script.refuses_stream_options && !json["stream_options"].is_null() {
        return refuse("Unrecognized request argument supplied: stream_options");
    }
    let mut messages = json["messages"].as_array().into_iter().flatten();
    let lacks = |message: &Value| {
        message["tool_calls"].is_array() && !message["reasoning_content"].is_string()
    };
    if state.script.requires_reasoning && messages.any(lacks) {
        return refuse(
            "The reasoning_content in the thinking mode must be passed back to the API.",
        );
    }
    Ok(())
}

fn check_key(state: &State, authorization: Option<&str>) -> Result<(), Refusal> {
    let Some(key) = &state.script.key else {
        return Ok(());
    };
    let given = authorization.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    if given == key {
        return Ok(());
    }
    let message = format!("Incorrect API key provided: {given}");
    Err(refuse(StatusCode::UNAUTHORIZED, "invalid_api_key", &message))
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Refusal {
    Refusal(status, error("invalid_request_error", code, message))
}
