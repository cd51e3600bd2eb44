//! From a request to an answer.

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

pub(super) async fn answer(state: Arc<State>, request: hyper::Request<Incoming>) -> io::Result<Response<Body>> {
    let json = match accept(&state, request).await {
        Ok(json) => json,
        Err(Refusal(status, body)) => return respond(&state, status, "application/json", [Step::Send(body.to_string().into())]),
    };
    let script = &state.script;
    let content_type = |usual| match script.fault {
        Some(Fault::WrongContentType) => "text/html",
        _ => usual,
    };
    match &script.fault {
        Some(Fault::CutBeforeHeaders) => return Err(io::ErrorKind::ConnectionAborted.into()),
        Some(Fault::Status(status, body)) => {
            let status = StatusCode::from_u16(*status).map_err(io::Error::other)?;
            return respond(&state, status, "application/json", [Step::Send(body.clone().into())]);
        }
        _ => {}
    }
    let answer = Answer::new(script, &json);
    if json["stream"] != true {
        return respond(
            &state,
            StatusCode::OK,
            content_type("application/json"),
            whole(script, &answer.whole()),
        );
    }
    let mut events: Vec<String> = answer.events().iter().map(Value::to_string).collect();
    events.push("[DONE]".to_owned());
    respond(&state, StatusCode::OK, content_type("text/event-stream"), stream_of(script, events))
}

fn respond(
    state: &Arc<State>,
    status: StatusCode,
    content_type: &str,
    steps: impl IntoIterator<Item = Step>,
) -> io::Result<Response<Body>> {
    let body: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(body(state.clone(), steps.into_iter().collect::<Vec<_>>()));
    let mut response = Response::builder().status(status).header("content-type", content_type);
    if status == StatusCode::TOO_MANY_REQUESTS {
        response = response.header("retry-after", "7");
    }
    response.body(StreamBody::new(body)).map_err(io::Error::other)
}

/// Checks a request as a server of OpenAI's kind does, and notes it.
async fn accept(state: &State, request: hyper::Request<Incoming>) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path != "/v1/chat/completions" {
        return Err(refuse(StatusCode::NOT_FOUND, "not_found", "there is nothing here"));
    }
    if head.method != Method::POST {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "post it"));
    }
    let bytes = match Limited::new(body, MOST_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return Err(refuse(
                StatusCode::BAD_REQUEST,
                "unreadable",
                "the body breaks off, or is too large",
            ));
        }
    };
    let authorization = head
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let json: Value = match serde_json::from_slice(&bytes) {
        Ok(json) => json,
        Err(_) => return Err(refuse(StatusCode::BAD_REQUEST, "invalid_json", "the body is no JSON")),
    };
    state.note(|seen| {
        seen.requests.push(Request {
            path,
            authorization: authorization.clone(),
            body: json.clone(),
        });
    });
    check_key(state, authorization.as_deref())?;
    if !json["model"].is_string() || !json["messages"].is_array() {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "missing_field",
            "a request has a model and messages",
        ));
    }
    Ok(json)
}

fn check_key(state: &State, authorization: Option<&str>) -> Result<(), Refusal> {
    let Some(key) = &state.script.key else { return Ok(()) };
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
