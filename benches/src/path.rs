//! Single paths whose instructions callgrind counts. Most take as many events as asked for, and have
//! nothing else that grows with that number. The paths named `many-…` have as many runs or handlers.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use clap::ValueEnum;
use futures_lite::future::{block_on, or, yield_now};
use rappel_core::{CallbackManager, LlmResult};

use crate::handlers::Kind;
use crate::host::Host;
use crate::many::Many;
use crate::rows::{Chat, Model, emit, serve, start};

/// The path of an event.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Path {
    NoHandler,
    #[value(name = "async-1")]
    Async1,
    #[value(name = "async-4")]
    Async4,
    #[value(name = "async-16")]
    Async16,
    SyncInline,
    SyncAwaited,
    SyncPipelined,
    ChatBare,
    #[value(name = "chat-0")]
    Chat0,
    #[value(name = "chat-1")]
    Chat1,
    #[value(name = "chat-4")]
    Chat4,
    ManyRuns,
    ManyRunsInLine,
    ManyClosedInLine,
    ManyChildren,
    ManyLeakedEmits,
    ManyHandlers,
}

impl Path {
    /// Sends a number of events along this path: tokens of one run, or chunks of one answer. A path
    /// of many runs or handlers works on so many of them.
    ///
    /// # Errors
    /// If the chat's server cannot be started.
    pub fn take(self, events: u64) -> io::Result<()> {
        match self {
            Self::NoHandler => tokens(Kind::Async, 0, events),
            Self::Async1 => tokens(Kind::Async, 1, events),
            Self::Async4 => tokens(Kind::Async, 4, events),
            Self::Async16 => tokens(Kind::Async, 16, events),
            Self::SyncInline => tokens(Kind::Inline, 1, events),
            Self::SyncAwaited => tokens_in_turn(Kind::Awaited, events),
            Self::SyncPipelined => tokens_in_turn(Kind::Pipelined, events),
            Self::ChatBare => return chat(Model::Bare, events),
            Self::Chat0 => return chat(Model::With(Kind::Async, 0), events),
            Self::Chat1 => return chat(Model::With(Kind::Async, 1), events),
            Self::Chat4 => return chat(Model::With(Kind::Async, 4), events),
            Self::ManyRuns => many(Many::Runs, events),
            Self::ManyRunsInLine => many(Many::RunsInLine, events),
            Self::ManyClosedInLine => many(Many::ClosedInLine, events),
            Self::ManyChildren => many(Many::Children, events),
            Self::ManyLeakedEmits => many(Many::LeakedEmits, events),
            Self::ManyHandlers => many(Many::Handlers, events),
        }
        Ok(())
    }
}

fn tokens(kind: Kind, handlers: usize, events: u64) {
    let host = Host::tokio_current_thread();
    let callbacks = kind.register(handlers, host.callbacks());
    host.block_on(async {
        let mut run = start(&callbacks).await;
        emit(&mut run, events).await;
        run.end(LlmResult::new()).await.expect("an open run ends");
    });
}

/// Tokens for a sync handler that is called on the emitter's thread, once after each token. Between
/// two threads, how often one of them sleeps and is woken would differ from run to run by half.
fn tokens_in_turn(kind: Kind, events: u64) {
    let (callbacks, driver) = CallbackManager::pair();
    let callbacks = kind.register(1, callbacks);
    let emitter = async move {
        let mut run = start(&callbacks).await;
        for _ in 0..events {
            emit(&mut run, 1).await;
            yield_now().await;
        }
        run.end(LlmResult::new()).await.expect("an open run ends");
    };
    block_on(or(emitter, async {
        driver.await;
        unreachable!("the emitter holds the manager");
    }));
}

fn many(of: Many, number: u64) {
    of.work_on(usize::try_from(number).expect("fewer than that fit in memory"));
}

fn chat(model: Model, chunks: u64) -> io::Result<()> {
    let (_server, base_url) = ServerProcess::start(chunks)?;
    let host = Host::Smol;
    let chat = Chat::new(&base_url, model, &host);
    let count = host.block_on(chat.stream());
    assert!(count >= chunks, "the answer has {count} chunks");
    Ok(())
}

/// A server in its own process, whose instructions do not count. It ends with its standard input.
struct ServerProcess {
    process: Child,
    stdin: Option<ChildStdin>,
}

impl ServerProcess {
    fn start(chunks: u64) -> io::Result<(Self, String)> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", "--chunks", &chunks.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let server = Self { process, stdin };
        let mut base_url = String::new();
        BufReader::new(stdout).read_line(&mut base_url)?;
        Ok((server, base_url.trim().to_owned()))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.process.wait();
    }
}

/// Serves answers of a number of chunks until standard input ends. The first line of output is the
/// base URL.
///
/// # Errors
/// If there is no port, or standard output is closed.
pub fn serve_until_stdin_ends(chunks: u64) -> io::Result<()> {
    let server = serve(chunks)?;
    println!("{}", server.base_url());
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
