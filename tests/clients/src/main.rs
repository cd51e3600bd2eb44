//! Answers requests of real clients with the event streams of scripted requests.
//!
//! It prints its address, and ends when its input ends.
//!
//! - `POST /ui/SCENARIO`: an AI SDK UI message stream.
//! - `POST /ag-ui/SCENARIO`: an AG-UI stream.
//! - `POST /check/ui`, `POST /check/ag-ui`: 204 if the body keeps the grammar, 422 with the flaw.
//! - `GET /ends/REQUEST`: the ends of the runs of the request whose header `x-request` had this
//!   value, when all of them have ended.

use std::collections::HashMap;
use std::future::ready;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rappel_core::{
    AsyncCallbackHandler, CallbackManager, Event, EventContext, HandlerFuture, RunError, Value,
};
use rappel_streams::{
    Encoder, EventFilter, SlowReader, Sse, ag_ui, check, event_stream, ui_message_stream,
};
use rappel_tokio::Tokio;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::watch;

mod scenarios;

/// The runs of the requests, by the requests' names.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<HashMap<String, watch::Sender<Runs>>>>);

#[derive(Default)]
struct Runs {
    started: usize,
    ends: Vec<String>,
}

impl Requests {
    fn runs(&self, request: &str) -> watch::Sender<Runs> {
        let mut requests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        requests.entry(request.to_owned()).or_default().clone()
    }
}

/// Writes down how the runs of a request end.
struct Watcher(watch::Sender<Runs>);

impl AsyncCallbackHandler for Watcher {
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        let how = match event.error() {
            None => "success",
            Some(RunError::Cancelled) => "cancelled",
            Some(_) => "error",
        };
        self.0.send_modify(|runs| {
            runs.started += usize::from(event.kind().is_start());
            if event.kind().is_end() {
                runs.ends.push(format!("{} {how}", cx.name()));
            }
        });
        HandlerFuture::new(ready(Ok(())))
    }
}

async fn respond<E>(
    requests: Requests,
    headers: HeaderMap,
    scenario: String,
    encoder: E,
) -> Response
where
    E: Encoder + Send + Unpin + 'static,
{
    let request = headers.get("x-request").and_then(|name| name.to_str().ok()).unwrap_or_default();
    let watcher = Watcher(requests.runs(request));
    let callbacks = CallbackManager::new(Tokio::current()).with_async_handler(watcher);
    let mut stream = event_stream(EventFilter::new());
    if scenario == "lag" {
        stream = stream.slow_reader(SlowReader::Disconnect);
    }
    let attached = match stream.attach(&callbacks) {
        Ok(attached) => attached,
        Err(error) => {
            return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
        }
    };
    let headers: HeaderMap = encoder
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
        .collect();
    let work = scenarios::play(scenario, attached);
    (headers, Body::from_stream(Sse::new(stream.drive(work), encoder))).into_response()
}

async fn ui(
    State(requests): State<Requests>,
    Path(scenario): Path<String>,
    headers: HeaderMap,
    Json(_): Json<Value>,
) -> Response {
    respond(requests, headers, scenario, ui_message_stream()).await
}

async fn agent(
    State(requests): State<Requests>,
    Path(scenario): Path<String>,
    headers: HeaderMap,
    Json(input): Json<Value>,
) -> Response {
    let id = |field: &str| input[field].as_str().unwrap_or_default().to_owned();
    let encoder = ag_ui(id("threadId"), id("runId"));
    respond(requests, headers, scenario, encoder).await
}

async fn grammar(Path(protocol): Path<String>, body: String) -> Response {
    let result = match protocol.as_str() {
        "ui" => check::ui_message_stream(&body),
        _ => check::ag_ui(&body),
    };
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(flaw) => (StatusCode::UNPROCESSABLE_ENTITY, flaw.to_string()).into_response(),
    }
}

async fn ends(State(requests): State<Requests>, Path(request): Path<String>) -> Json<Vec<String>> {
    let runs = requests.runs(&request);
    let mut changes = runs.subscribe();
    // The sender is alive, so this does not fail.
    let _ = changes.wait_for(|runs| runs.started > 0 && runs.started == runs.ends.len()).await;
    let mut ends = runs.borrow().ends.clone();
    ends.sort();
    Json(ends)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let routes = Router::new()
        .route("/ui/{scenario}", post(ui))
        .route("/ag-ui/{scenario}", post(agent))
        .route("/check/{protocol}", post(grammar))
        .route("/ends/{request}", get(ends))
        .with_state(Requests::default());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, routes) => served,
        read = async { tokio::io::stdin().read_to_end(&mut Vec::new()).await } => read.map(drop),
    }
}
