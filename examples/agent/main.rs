//! An agent: a chat model with two tools, a calculator and a search over text files.
//!
//!     cargo run --example agent -- "What is 6 * 7?"
//!
//! It prints the tree of its runs while they happen, writes every event to `agent.jsonl`, and says
//! what the answer cost. It asks OpenAI if `OPENAI_API_KEY` is set, and any compatible server with
//! `--base-url`. Otherwise it asks a small server of its own, whose model calls the tools by a
//! script.

mod agent;
#[path = "../embedded.rs"]
mod embedded;
mod scripted_model;
#[cfg(test)]
mod tests;
mod tools;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rappel::handlers::{Console, JsonLines, Prices, Usage, UsageReport};
use rappel::prelude::*;
use rappel_tests::openai_server::{Script, Server};

use crate::tools::Tools;

/// The exit status that a shell reports for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Asks an agent with two tools: a calculator, and a search over text files.
#[derive(Debug, Parser)]
struct Options {
    /// The question.
    #[arg(default_value = "What is 6 * 7, and what does a handler promise?")]
    question: String,
    /// The directory whose .md, .rst and .txt files are searched.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// The file to which the events are appended, as JSON Lines.
    #[arg(long, default_value = "agent.jsonl")]
    log: PathBuf,
    /// The model's name.
    #[arg(long, default_value = "gpt-4o-mini")]
    model: String,
    /// The server's base URL, with the version, such as `/v1` [default: OPENAI_BASE_URL, or OpenAI's
    /// if OPENAI_API_KEY is set, or an embedded server].
    #[arg(long)]
    base_url: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(status) => status,
        Err(error) => {
            // Nothing can be reported if standard error is closed, too.
            let _ = writeln!(io::stderr(), "agent: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<ExitCode, Box<dyn Error>> {
    let server = match options.base_url {
        Some(_) => None,
        None => embedded::server(Script::made(scripted_model::reply))?,
    };
    let base_url = options.base_url.or(server.as_ref().map(Server::base_url));
    let log = JsonLines::append(&options.log)
        .map_err(|error| format!("cannot write {}: {error}", options.log.display()))?;
    let usage = Usage::with_prices(Prices::bundled());
    let callbacks = CallbackManager::new(Tokio::current())
        .with(Console::stderr().prices(Prices::bundled()))
        .with(log)
        .with(usage.clone());

    let mut chat = ChatOpenAi::builder().model(options.model).streaming(true).tools(Tools::list());
    if let Some(url) = base_url {
        chat = chat.base_url(url);
    }
    let chat = chat.build()?;
    let tools = Tools::new(options.dir);
    let question = vec![Message::human(options.question)];
    let answer = tokio::select! {
        answer = agent::answer(&chat, &tools, question, &callbacks) => Some(answer),
        // The agent is dropped, and its open runs end as cancelled.
        pressed = tokio::signal::ctrl_c() => { pressed?; None }
    };
    // Until the handlers have handled every event. Dropping the manager would not wait for them.
    callbacks.flush().await?;
    let Some(answer) = answer else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{}", answer?)?;
    writeln!(out, "\n{}; events: {}", cost(&usage.report()), options.log.display())?;
    Ok(ExitCode::SUCCESS)
}

fn cost(report: &UsageReport) -> String {
    let total = report.total();
    let (requests, tokens) = (total.requests + total.unmeasured, total.tokens);
    let counted = format!("{requests} requests, {} → {} tokens", tokens.input, tokens.output);
    match report.cost() {
        Some(cost) => format!("{counted}, ${cost:.6}"),
        None => format!("{counted}, cost unknown"),
    }
}
