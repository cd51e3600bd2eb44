//! LangChain's page on async callbacks, on the runtime of your choice: `cargo run --example quickstart -- --runtime smol`.
//!
//! A sync handler prints each token, on a thread of its own; an async one sleeps on the event loop when the model starts and ends, and nobody
//! but the model waits for it. The handlers are written once, and know no runtime.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures_channel::oneshot;
use futures_lite::future::or;
use rappel_async_std::AsyncStd;
use rappel_core::prelude::*;
use rappel_core::{BlockingExecutor, Spawner, Timer};
use rappel_openai::ChatOpenAi;
use rappel_smol::Smol;
use rappel_tests::openai_server::{Script, Server};
use rappel_tokio::Tokio;

/// What a shell gives for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Prints each token. Its methods may block: they are called off the event loop, one at a time.
struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        say(&format!("Sync handler being called on thread {name}: token: {}", token.token))?;
        Ok(())
    }

    fn on_llm_error(&mut self, error: &LlmError, _run: &RunInfo) -> HandlerResult {
        say(&format!(
            "Your llm did not come to its end ({}). It said: {}",
            error.error,
            error.partial.text()
        ))?;
        Ok(())
    }
}

/// Sleeps when the model starts and ends.
struct Sleeper(Arc<dyn Timer>);

impl AsyncCallbackHandler for Sleeper {
    async fn on_llm_start(&self, _start: &LlmStart, _run: &RunInfo) -> HandlerResult {
        say("zzzz....")?;
        self.0.sleep(Duration::from_millis(300)).await;
        say("Hi! I just woke up. Your llm is starting")?;
        Ok(())
    }

    async fn on_llm_end(&self, _end: &LlmEnd, _run: &RunInfo) -> HandlerResult {
        say("zzzz....")?;
        self.0.sleep(Duration::from_millis(300)).await;
        say("Hi! I just woke up. Your llm is ending")?;
        Ok(())
    }
}

/// How it ended, where nothing went wrong.
enum Ended {
    Well,
    /// By Ctrl-C.
    Interrupted,
}

async fn quickstart<R>(runtime: R, options: Options) -> Result<Ended, Box<dyn Error>>
where
    R: Spawner + BlockingExecutor + Timer + Clone,
{
    let callbacks = CallbackManager::new(runtime.clone())
        .with_handler(Printer)
        .with_async_handler(Sleeper(Arc::new(runtime)));

    let mut chat = ChatOpenAi::builder()
        .model(options.model)
        .max_tokens(25)
        .streaming(true)
        .callbacks(callbacks.clone());
    if let Some(url) = options.base_url {
        chat = chat.base_url(url);
    }
    let conversation = vec![Message::human(options.prompt)];
    let chat = chat.build()?;
    let answer = async { Some(chat.generate(vec![conversation]).await) };
    let interrupted = interrupted()?;
    let Some(results) = or(answer, interrupted).await else {
        // What was dropped was told to the handlers as cancelled, by the time this comes back.
        callbacks.flush().await;
        return Ok(Ended::Interrupted);
    };
    for result in results {
        let result = result?;
        say(&format!("\n{}", result.text()))?;
        if let Some(usage) = &result.usage {
            let (prompt, completion) = (usage.prompt_tokens, usage.completion_tokens);
            say(&format!("({prompt} tokens in the prompt, {completion} in the answer)"))?;
        }
    }
    Ok(Ended::Well)
}

/// `None`, once Ctrl-C is pressed. Pressed again, it ends the program on the spot.
fn interrupted<T>() -> Result<impl Future<Output = Option<T>>, ctrlc::Error> {
    let (pressed, is_pressed) = oneshot::channel::<()>();
    let mut pressed = Some(pressed);
    ctrlc::set_handler(move || {
        if pressed.take().is_none() {
            std::process::exit(INTERRUPTED.into());
        }
    })?;
    Ok(async {
        // It is dropped, and not sent.
        let _ = is_pressed.await;
        None
    })
}

/// What the program takes.
#[derive(Debug, Parser)]
struct Options {
    /// The runtime that all of it runs on.
    #[arg(long, value_enum, default_value_t = Runtime::Tokio)]
    runtime: Runtime,
    /// What to ask the model.
    #[arg(long, default_value = "Tell me a joke")]
    prompt: String,
    /// The model's name.
    #[arg(long, default_value = "gpt-4o-mini")]
    model: String,
    /// The server's address, up to and with the version [default: OPENAI_BASE_URL, or OpenAI's with OPENAI_API_KEY set, or a server of our own].
    #[arg(long)]
    base_url: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Runtime {
    Tokio,
    TokioCurrentThread,
    AsyncStd,
    Smol,
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(Ended::Well) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            // Nothing more can be done where standard error is closed too.
            let _ = writeln!(io::stderr(), "quickstart: {}", with_sources(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(mut options: Options) -> Result<Ended, Box<dyn Error>> {
    let _server = own_server(&mut options)?;
    match options.runtime {
        Runtime::Tokio => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async { quickstart(Tokio::try_current()?, options).await })
        }
        Runtime::TokioCurrentThread => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { quickstart(Tokio::try_current()?, options).await })
        }
        Runtime::AsyncStd => async_std::task::block_on(quickstart(AsyncStd::new(), options)),
        Runtime::Smol => smol::block_on(quickstart(Smol::global(), options)),
    }
}

/// Starts a server of our own where the user names none. It runs until it is dropped.
fn own_server(options: &mut Options) -> Result<Option<Server>, Box<dyn Error>> {
    let named = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    if options.base_url.is_some() || named("OPENAI_BASE_URL") || named("OPENAI_API_KEY") {
        return Ok(None);
    }
    let server = Server::start(Script::joke())?;
    say(&format!(
        "(no OPENAI_BASE_URL, OPENAI_API_KEY or --base-url: asking a small server of our own, {})",
        server.base_url()
    ))?;
    options.base_url = Some(server.base_url());
    Ok(Some(server))
}

/// Like `println!`, which panics where standard output is closed.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The error and what is behind it.
fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
