//! Replays a callback program on a runtime:
//! `replay --runtime tokio < tests/conformance/cases/joke.json`.
//!
//! It prints the log of each step as JSON. The exit status is 2 if the program cannot be read, and
//! 1 if anything else fails. One line on standard error then gives the reason.

use std::fmt;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use rappel_async_std::AsyncStd;
use rappel_core::{BlockingExecutor, CallbackManager, Spawner, Timer, Value};
use rappel_smol::Smol;
use rappel_tests::replay::{Program, ReadError};
use rappel_tokio::Tokio;
use tokio::runtime::Builder;

/// Replays a callback program from standard input.
#[derive(Parser)]
struct Options {
    /// The runtime to replay the program on.
    #[arg(long)]
    runtime: Runtime,
    /// Prints the events of LangChain's event stream for each step, instead of the handlers' log.
    #[arg(long)]
    events: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Runtime {
    Tokio,
    TokioCurrentThread,
    AsyncStd,
    Smol,
}

impl Runtime {
    fn play(self, play: Play) -> io::Result<Value> {
        match self {
            Self::Tokio => play_on_tokio(Builder::new_multi_thread(), play),
            Self::TokioCurrentThread => play_on_tokio(Builder::new_current_thread(), play),
            Self::AsyncStd => async_std::task::block_on(play_on(AsyncStd::new(), play)),
            Self::Smol => smol::block_on(play_on(Smol::global(), play)),
        }
    }
}

/// A program, and whether its events are wanted.
struct Play {
    program: Program,
    events: bool,
}

fn play_on_tokio(mut builder: Builder, play: Play) -> io::Result<Value> {
    let runtime = builder.enable_all().build()?;
    runtime.block_on(async { play_on(Tokio::current(), play).await })
}

async fn play_on(
    runtime: impl Spawner + BlockingExecutor + Timer,
    Play { program, events }: Play,
) -> io::Result<Value> {
    let callbacks = CallbackManager::new(runtime);
    let output = match events {
        true => serde_json::to_value(program.play_events(callbacks).await),
        false => serde_json::to_value(program.play(callbacks).await),
    };
    Ok(output?)
}

fn main() -> ExitCode {
    match replay(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // `eprintln!` would panic if standard error is closed.
            let _ = writeln!(io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn replay(options: &Options) -> Result<(), Failure> {
    let program = Program::read(&standard_input()?).map_err(Failure::Unreadable)?;
    let play = Play { program, events: options.events };
    let output = options.runtime.play(play).map_err(Failure::Runtime)?;
    print(&output).map_err(Failure::Output)
}

/// Reads standard input, up to one byte more than a program may have.
fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut json = Vec::new();
    let mut input = io::stdin().lock().take(Program::LONGEST as u64 + 1);
    input.read_to_end(&mut json).map_err(Failure::Input)?;
    Ok(json)
}

fn print(value: &Value) -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut output, value)?;
    writeln!(output)?;
    output.flush()
}

enum Failure {
    Unreadable(ReadError),
    Input(io::Error),
    Runtime(io::Error),
    Output(io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Unreadable(_) => ExitCode::from(2),
            Self::Input(_) | Self::Runtime(_) | Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::Input(error) => write!(f, "standard input cannot be read: {error}"),
            Self::Runtime(error) => write!(f, "the runtime cannot be started: {error}"),
            Self::Output(error) => write!(f, "standard output cannot be written: {error}"),
        }
    }
}
