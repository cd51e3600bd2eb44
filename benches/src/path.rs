//! Single paths, for callgrind to count the instructions of: as many events as one asks for, and nothing beside them that grows.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use clap::ValueEnum;
use futures_lite::future::{block_on, or, yield_now};
use rappel_core::{CallbackManager, LlmResult};

use crate::handlers::Kind;
use crate::host::Host;
use crate::rows::{Chat, Model, emit, serve, start};

/// A path that an event takes.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Path {
    Nobody,
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
}

impl Path {
    /// Takes that path with so many events: tokens of one run, or chunks of one answer.
    ///
    /// # Errors
    /// When the chat's server cannot be started.
    pub fn take(self, events: u64) -> io::Result<()> {
        match self {
            Self::Nobody => tokens(Kind::Async, 0, events),
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
        }
        Ok(())
    }
}

fn tokens(kind: Kind, handlers: usize, events: u64) {
    let host = Host::tokio_current_thread();
    let callbacks = kind.register(handlers, host.callbacks());
    host.block_on(async {
        let run = start(&callbacks).await;
        emit(&run, events).await;
        run.end(LlmResult::new()).await.expect("an open run ends");
    });
}

/// Tokens for a sync handler whose calls are made on the same thread, one after each token. Between two threads the count would be the scheduler's: how often
/// one of them goes to sleep, and is woken, differs by half.
fn tokens_in_turn(kind: Kind, events: u64) {
    let (callbacks, driver) = CallbackManager::pair();
    let callbacks = kind.register(1, callbacks.erase());
    let emitter = async move {
        let run = start(&callbacks).await;
        for _ in 0..events {
            emit(&run, 1).await;
            yield_now().await;
        }
        run.end(LlmResult::new()).await.expect("an open run ends");
    };
    block_on(or(emitter, async {
        driver.await;
        unreachable!("the emitter holds the manager");
    }));
}

fn chat(model: Model, chunks: u64) -> io::Result<()> {
    let (_server, base_url) = ServerProcess::start(chunks)?;
    let host = Host::Smol;
    let chat = Chat::new(&base_url, model, &host);
    let count = host.block_on(chat.stream());
    assert!(count >= chunks, "the answer has {count} chunks");
    Ok(())
}

/// A server in a process of its own, whose instructions do not count. It ends with its standard input.
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

/// Serves answers of so many chunks until standard input ends; the first line of output is the base URL.
///
/// # Errors
/// When there is no port, or nobody reads.
pub fn serve_until_stdin_ends(chunks: u64) -> io::Result<()> {
    let server = serve(chunks)?;
    println!("{}", server.base_url());
    io::stdout().flush()?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
