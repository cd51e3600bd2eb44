//! The page, and the streams for it and for other clients.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use rappel::Value;
use rappel::handlers::Prices;
use rappel::prelude::*;
use rappel::streams::{Encoder, EventFilter, Heartbeat, Sse, ag_ui, event_stream, langchain};

use crate::agent;
use crate::request::{conversation, input};
use crate::runs::WithRuns;
use crate::tools::Tools;

/// What the requests share.
pub(crate) struct Service {
    chat: ChatOpenAi,
    tools: Tools,
    callbacks: CallbackManager,
    prices: Prices,
}

type Shared = State<Arc<Service>>;

/// An answer, or the status and the reason why there is none.
type Answer = Result<Response, (StatusCode, String)>;

impl Service {
    pub(crate) fn new(
        chat: ChatOpenAi,
        tools: Tools,
        callbacks: CallbackManager,
        prices: Prices,
    ) -> Self {
        Self { chat, tools, callbacks, prices }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/", get(page))
            .route("/api/chat", post(chat))
            .route("/api/agui", post(agui))
            .route("/api/events", post(events))
            .layer(middleware::from_fn(only_this_machine))
            .with_state(Arc::new(self))
    }

    /// The answer to a conversation, as the encoder writes it. If the client goes away, the stream is
    /// dropped, and the agent with it: its runs end as cancelled, and the model's socket closes.
    fn answer<E>(self: Arc<Self>, messages: Result<Vec<Message>, &str>, encoder: E) -> Answer
    where
        E: Encoder + Unpin + Send + 'static,
    {
        let messages = messages.map_err(|why| (StatusCode::BAD_REQUEST, why.to_owned()))?;
        let events = event_stream(EventFilter::new());
        let callbacks = events
            .attach(&self.callbacks)
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let work =
            async move { agent::answer(&self.chat, &self.tools, messages, &callbacks).await };
        let headers = encoder.headers();
        let body =
            Sse::new(events.drive(work), encoder).heartbeat(Heartbeat::new(Tokio::current()));
        let mut response = Body::from_stream(body).into_response();
        for (name, value) in headers {
            response.headers_mut().insert(*name, header::HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

/// For the page, and for the AI SDK.
async fn chat(State(service): Shared, Json(request): Json<Value>) -> Answer {
    let encoder = WithRuns::new(service.prices.clone());
    service.answer(conversation(&request), encoder)
}

/// For AG-UI.
async fn agui(State(service): Shared, Json(request): Json<Value>) -> Answer {
    let id = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
    service.answer(conversation(&request), ag_ui(id("threadId"), id("runId")))
}

/// For LangChain's clients.
async fn events(State(service): Shared, Json(request): Json<Value>) -> Answer {
    service.answer(input(&request), langchain())
}

/// The page. Its own script is the only one that the browser runs.
async fn page() -> impl IntoResponse {
    let nonce = format!("{:032x}", fastrand::u128(..));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, include_str!("page.html").replace("NONCE", &nonce))
}

/// Refuses requests for other host names: a page of another site could make its own name lead to
/// this machine, and spend the key.
async fn only_this_machine(headers: HeaderMap, request: Request, next: Next) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    match host.rsplit_once(':').map_or(host, |(name, _)| name) {
        "localhost" | "127.0.0.1" => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "this page is for http://localhost only").into_response(),
    }
}
