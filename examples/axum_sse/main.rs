//! Streams the tokens of each request into a browser, in axum: `cargo run --example axum_sse`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, Sse, sse};
use axum::{Router, routing::get};
use futures_util::{Stream, StreamExt};
use rappel::prelude::*;
use rappel::streams::token_stream;

#[path = "../embedded.rs"]
mod embedded; // Answers without a key. Leave it out of a program of your own.
#[cfg(test)]
mod tests;

async fn chat(
    State(model): State<Arc<ChatOpenAi>>,
    question: String,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, axum::Error>>>, String> {
    // The handler of this request. Those of the service are the model's.
    let audit = handler_fn(|event, _| {
        match event {
            Event::LlmEnd(end) => println!("answered: {:?}", end.result.usage),
            Event::LlmError(end) => println!("{} after {:?}", end.error, end.partial.text()),
            _ => {}
        }
        Ok(())
    });
    let tokens = token_stream();
    let callbacks = CallbackManager::new(Tokio::current()).with_handler(audit);
    let callbacks = tokens.attach(&callbacks).map_err(|error| error.to_string())?;
    // A closed tab drops the stream and the work. Its runs end as cancelled, its sockets close.
    let tokens = tokens.drive(async move { model.invoke_with(question, callbacks).await });
    Ok(Sse::new(tokens.map(|token| match token {
        Ok(token) => sse::Event::default().json_data(token),
        Err(error) => sse::Event::default().event("failed").json_data(error.to_string()),
    })))
}

fn app(model: ChatOpenAi) -> Router {
    let page = async || Html(include_str!("page.html"));
    Router::new().route("/", get(page).post(chat)).with_state(Arc::new(model))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut model = ChatOpenAi::builder().model("gpt-4o-mini").streaming(true);
    let server = embedded::server(rappel_tests::openai_server::Script::joke())?;
    if let Some(server) = &server {
        model = model.base_url(server.base_url());
    }
    let port = std::env::var("RAPPEL_PORT").map_or(Ok(3000), |port| port.parse())?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app(model.build()?)).await?)
}
