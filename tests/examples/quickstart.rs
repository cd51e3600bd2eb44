//! LangChain's page on async callbacks, on a runtime of your choice:
//! `cargo run --example quickstart -- --runtime smol`.
//!
//! A sync handler prints each token, off the event loop. An async handler sleeps on the event loop
//! when the model starts and ends, and only the model waits for it. The handlers do not depend on a
//! runtime.

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

/// The exit status that a shell reports for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Prints each token. Its methods may block, because they are called off the event loop, one at a
/// time.
struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        let thread = thread::current();
        let name = thread.name().unwrap_or("without a name");
        print_line(&format!("Sync handler being called on thread {name}: token: {}", token.token))?;
        Ok(())
    }

    fn on_llm_error(&mut self, error: &LlmError, _cx: &EventContext) -> HandlerResult {
        print_line(&format!(
            "Your llm failed ({}). Its partial answer: {}",
            error.error,
            error.partial.text()
        ))?;
        Ok(())
    }
}

/// Sleeps when the model starts and ends.
struct Sleeper(Arc<dyn Timer>);

impl AsyncCallbackHandler for Sleeper {
    async fn on_llm_start(&self, _start: &LlmStart, _cx: &EventContext) -> HandlerResult {
        print_line("zzzz....")?;
        self.0.sleep(Duration::from_millis(300)).await;
        print_line("Hi! I just woke up. Your llm is starting")?;
        Ok(())
    }

    async fn on_llm_end(&self, _end: &LlmEnd, _cx: &EventContext) -> HandlerResult {
        print_line("zzzz....")?;
        self.0.sleep(Duration::from_millis(300)).await;
        print_line("Hi! I just woke up. Your llm is ending")?;
        Ok(())
    }
}

/// How the program ended, if it did not fail.
enum Ended {
    /// With an answer.
    Answered,
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
    let chat = chat.build()?;
    let answer = async { Some(chat.invoke(options.prompt).await) };
    let interrupted = interrupted()?;
    let Some(answer) = or(answer, interrupted).await else {
        // The call was dropped. This waits until the handlers have handled its error.
        callbacks.flush().await?;
        return Ok(Ended::Interrupted);
    };
    let answer = answer?;
    print_line(&format!("\n{}", answer.text()))?;
    if let Some(usage) = &answer.usage {
        let (prompt, completion) = (usage.prompt_tokens, usage.completion_tokens);
        print_line(&format!("({prompt} tokens in the prompt, {completion} in the answer)"))?;
    }
    Ok(Ended::Answered)
}

/// `None` once Ctrl-C is pressed. If it is pressed again, the program exits at once.
fn interrupted<T>() -> Result<impl Future<Output = Option<T>>, ctrlc::Error> {
    let (pressed, is_pressed) = oneshot::channel::<()>();
    let mut pressed = Some(pressed);
    ctrlc::set_handler(move || {
        if pressed.take().is_none() {
            std::process::exit(INTERRUPTED.into());
        }
    })?;
    Ok(async {
        // The sender is dropped without a message.
        let _ = is_pressed.await;
        None
    })
}

/// The arguments of the program.
#[derive(Debug, Parser)]
struct Options {
    /// The runtime.
    #[arg(long, value_enum, default_value_t = Runtime::Tokio)]
    runtime: Runtime,
    /// The prompt.
    #[arg(long, default_value = "Tell me a joke")]
    prompt: String,
    /// The model's name.
    #[arg(long, default_value = "gpt-4o-mini")]
    model: String,
    /// The server's base URL, with the version, such as `/v1` [default: OPENAI_BASE_URL, or OpenAI's
    /// if OPENAI_API_KEY is set, or an embedded server].
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
        Ok(Ended::Answered) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            // Nothing can be reported if standard error is closed, too.
            let _ = writeln!(io::stderr(), "quickstart: {}", with_sources(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(mut options: Options) -> Result<Ended, Box<dyn Error>> {
    let _server = embedded_server(&mut options)?;
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

/// Starts an embedded server if the user names none. It runs until it is dropped.
fn embedded_server(options: &mut Options) -> Result<Option<Server>, Box<dyn Error>> {
    let named = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    if options.base_url.is_some() || named("OPENAI_BASE_URL") || named("OPENAI_API_KEY") {
        return Ok(None);
    }
    let server = Server::start(Script::joke())?;
    print_line(&format!(
        "(no OPENAI_BASE_URL, OPENAI_API_KEY or --base-url: asking an embedded server, {})",
        server.base_url()
    ))?;
    options.base_url = Some(server.base_url());
    Ok(Some(server))
}

/// Like `println!`, but it does not panic if standard output is closed.
fn print_line(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The error and its sources.
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
