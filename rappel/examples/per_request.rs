//! A web service with handlers for the process and for each request, in axum.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::{Router, routing::post, serve};
use futures_util::{Stream, StreamExt};
use rappel::handlers::{JsonLines, Usage};
use rappel::prelude::*;

/// Measures the answer of one request.
#[derive(Default)]
struct Audit(usize);

impl CallbackHandler for Audit {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        self.0 += token.token.chars().count();
        Ok(())
    }

    fn on_llm_end(&mut self, _end: &LlmEnd, _cx: &EventContext) -> HandlerResult {
        println!("answered with {} characters", self.0);
        Ok(())
    }

    fn on_llm_error(&mut self, end: &LlmError, _cx: &EventContext) -> HandlerResult {
        println!("{} after {} characters", end.error, self.0);
        Ok(())
    }
}

type Tokens<S> = Result<Sse<S>, String>;

async fn chat(
    State(model): State<Arc<ChatOpenAi>>,
    question: String,
) -> Tokens<impl Stream<Item = Result<Event, Infallible>>> {
    let callbacks = CallbackManager::new(Tokio::current()).with_handler(Audit::default());
    let options = CallOptions::new().callbacks(callbacks);
    let chunks = model.stream_with(vec![Message::human(question)], options).await;
    // A closed tab drops the stream. The run ends as cancelled, and the model's socket closes.
    let events = chunks.map_err(|error| error.to_string())?.map(|chunk| {
        Ok(match chunk {
            Ok(chunk) => Event::default().data(chunk.text.as_str()),
            Err(error) => Event::default().event("error").data(error.to_string()),
        })
    });
    Ok(Sse::new(events))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = Usage::new();
    let log = JsonLines::append("audit.jsonl")?;
    let callbacks = CallbackManager::new(Tokio::current()).with(log).with(usage.clone());
    let model = ChatOpenAi::builder().model("gpt-4o-mini").callbacks(callbacks).build()?;
    let app = Router::new().route("/chat", post(chat)).with_state(Arc::new(model));
    let port = std::env::var("RAPPEL_PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/chat", listener.local_addr()?);
    let stopped = async { drop(tokio::signal::ctrl_c().await) };
    serve(listener, app).with_graceful_shutdown(stopped).await?;
    println!("{:?}", usage.report().total());
    Ok(())
}
