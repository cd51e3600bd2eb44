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
use rappel_core::{BlockingExecutor, CallbackManager, Spawner, Timer};
use rappel_smol::Smol;
use rappel_tests::replay::{Program, ReadError, StepLog};
use rappel_tokio::Tokio;
use tokio::runtime::Builder;

/// Replays a callback program from standard input.
#[derive(Parser)]
struct Options {
    /// The runtime to replay it on.
    #[arg(long)]
    runtime: Runtime,
}

#[derive(Clone, Copy, ValueEnum)]
enum Runtime {
    Tokio,
    TokioCurrentThread,
    AsyncStd,
    Smol,
}

impl Runtime {
    fn play(self, program: Program) -> io::Result<Vec<StepLog>> {
        match self {
            Self::Tokio => play_on_tokio(Builder::new_multi_thread(), program),
            Self::TokioCurrentThread => play_on_tokio(Builder::new_current_thread(), program),
            Self::AsyncStd => Ok(async_std::task::block_on(play_on(AsyncStd::new(), program))),
            Self::Smol => Ok(smol::block_on(play_on(Smol::global(), program))),
        }
    }
}

fn play_on_tokio(mut builder: Builder, program: Program) -> io::Result<Vec<StepLog>> {
    let runtime = builder.enable_all().build()?;
    Ok(runtime.block_on(async { play_on(Tokio::current(), program).await }))
}

async fn play_on(
    runtime: impl Spawner + BlockingExecutor + Timer,
    program: Program,
) -> Vec<StepLog> {
    program.play(CallbackManager::new(runtime)).await
}

fn main() -> ExitCode {
    match replay(Options::parse().runtime) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // `eprintln!` would panic if standard error is closed.
            let _ = writeln!(io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}

fn replay(runtime: Runtime) -> Result<(), Failure> {
    let program = Program::read(&standard_input()?).map_err(Failure::Unreadable)?;
    let logs = runtime.play(program).map_err(Failure::Runtime)?;
    print(&logs).map_err(Failure::Output)
}

/// Reads standard input, up to one byte more than a program may have.
fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut json = Vec::new();
    let mut input = io::stdin().lock().take(Program::LONGEST as u64 + 1);
    input.read_to_end(&mut json).map_err(Failure::Input)?;
    Ok(json)
}

fn print(logs: &[StepLog]) -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut output, logs)?;
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
