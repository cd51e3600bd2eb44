//! A page in a browser: ask, and watch the answer, its tools and the tree of its runs as they happen.
//!
//!     cargo run --example chat_page
//!
//! It answers with the agent of the example `agent`. It asks OpenAI if `OPENAI_API_KEY` is set, and
//! any compatible server with `--base-url`. Otherwise it asks a small server of its own, whose model
//! answers by a script. The key comes from the environment only, and is never shown.
//!
//! Other clients can use it, too:
//!
//! - `POST /api/chat`: the AI SDK, `useChat` for example.
//! - `POST /api/agui`: AG-UI, `HttpAgent` of `@ag-ui/client`.
//! - `POST /api/events`: LangChain's `astream_events`, version 2, for `{"input": "..."}`.

#[path = "../agent/agent.rs"]
mod agent;
#[path = "../embedded.rs"]
mod embedded;
mod request;
mod runs;
#[path = "../agent/scripted_model.rs"]
mod scripted_model;
mod service;
#[cfg(test)]
mod tests;
#[path = "../agent/tools.rs"]
mod tools;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use rappel::handlers::{Console, Prices};
use rappel::prelude::*;
use rappel_tests::openai_server::{Script, Server};
use tokio::net::TcpListener;

use crate::service::Service;
use crate::tools::Tools;

/// The time between two tokens of the embedded model.
const PACE: Duration = Duration::from_millis(40);
/// How long answers may go on after Ctrl-C.
const GRACE: Duration = Duration::from_secs(1);

/// Serves a page that chats with a model, on loopback.
#[derive(Debug, Parser)]
struct Options {
    /// The port of the page. 0 takes a free one.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The model's name.
    #[arg(long, default_value = "gpt-4o-mini")]
    model: String,
    /// The model server's address, including the version [default: OPENAI_BASE_URL, or OpenAI's
    /// with OPENAI_API_KEY set, or an embedded server].
    #[arg(long)]
    base_url: Option<String>,
    /// The directory whose .md, .rst and .txt files are searched.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let server = match options.base_url {
        Some(_) => None,
        None => embedded::server(Script::made(scripted_model::reply).paced(PACE))?,
    };
    let prices = Prices::bundled();
    // Until the table of prices is decoded.
    prices.ready().await;
    // The handlers of the whole service. Each request has those of its streams.
    let callbacks =
        CallbackManager::new(Tokio::current()).with(Console::stderr().prices(prices.clone()));
    let mut chat = ChatOpenAi::builder().model(options.model).streaming(true).tools(Tools::list());
    if let Some(url) = options.base_url.or(server.as_ref().map(Server::base_url)) {
        chat = chat.base_url(url);
    }
    let service = Service::new(chat.build()?, Tools::new(options.dir), callbacks.clone(), prices);

    let listener = TcpListener::bind(("127.0.0.1", options.port))
        .await
        .map_err(|error| format!("cannot listen on port {}: {error}", options.port))?;
    println!("http://{}", listener.local_addr()?);
    let stopped = async move {
        // An error here is a system without signals: the service then stops at once.
        let _ = tokio::signal::ctrl_c().await;
        // Closes the runs, so that each open answer ends as cancelled.
        let _ = callbacks.shutdown(GRACE).await;
    };
    axum::serve(listener, service.router()).with_graceful_shutdown(stopped).await?;
    Ok(())
}
