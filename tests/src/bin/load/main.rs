//! Many runs at once, on a runtime: `cargo run --release -p rappel-tests --bin load -- --runtime all`.
//!
//! A thousand runs of a thousand tokens each go to two async and four sync handlers at the same time; of the sync ones, one fails, one is slow, and one is
//! in the background. Each handler checks that it hears every event of every run, in order, and once; afterwards the manager's numbers have to add up.
//! One line per runtime says how long it took; `all` gives each runtime a process of its own, so that the peak of memory is its own. The exit status is 1
//! where anything is off, and standard error then says what.
//!
//! `events` counts the calls of all handlers; `streak` is a sync handler's longest row of calls of one run while another run was open, `queue` the most
//! events of one run that waited for a handler, and `contended` how many of the sync handlers' calls began while another run surely waited: only there
//! the check that runs take turns has something to say.

mod drive;
mod handlers;
mod load;
mod stall;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};
use rappel_async_std::AsyncStd;
use rappel_smol::Smol;
use rappel_tokio::Tokio;
use tokio::runtime::Builder;

use self::drive::{Outcome, drive};
use self::load::Size;

/// Emits many runs at once, and checks that every handler hears all of them.
#[derive(Parser)]
struct Options {
    /// What it runs on.
    #[arg(long)]
    runtime: Runtime,
    /// How many runs go on at once.
    #[arg(long, default_value_t = 1000)]
    runs: usize,
    /// How many tokens each run has.
    #[arg(long, default_value_t = 1000)]
    tokens: usize,
    /// Leaves the table's head away: for a process that prints one line of it.
    #[arg(long, hide = true)]
    no_head: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Runtime {
    Tokio,
    TokioCurrentThread,
    AsyncStd,
    Smol,
    /// Each of the others, in a process of its own.
    All,
}

impl Runtime {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn drive(self, size: Size) -> io::Result<Outcome> {
        match self {
            Self::Tokio => drive_on_tokio(Builder::new_multi_thread(), size),
            Self::TokioCurrentThread => drive_on_tokio(Builder::new_current_thread(), size),
            Self::AsyncStd => Ok(async_std::task::block_on(drive(AsyncStd::new(), size))),
            Self::Smol => Ok(smol::block_on(drive(Smol::global(), size))),
            Self::All => Err(io::Error::other("all is no runtime")),
        }
    }
}

fn drive_on_tokio(mut builder: Builder, size: Size) -> io::Result<Outcome> {
    let runtime = builder.enable_all().build()?;
    Ok(runtime.block_on(async { drive(Tokio::current(), size).await }))
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.no_head {
        print(&format!(
            "{:<20} {:>10} {:>8} {:>9} {:>7} {:>6} {:>10}",
            "runtime", "events", "seconds", "peak MiB", "streak", "queue", "contended"
        ));
    }
    let good = match options.runtime {
        Runtime::All => drive_all(&options),
        one => drive_one(one, &options),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn drive_all(options: &Options) -> bool {
    let runtimes = Runtime::value_variants().iter().filter(|runtime| **runtime != Runtime::All);
    // All of them, also after one that failed.
    let failed = runtimes.filter(|runtime| !drive_in_child(**runtime, options)).count();
    failed == 0
}

fn drive_in_child(runtime: Runtime, options: &Options) -> bool {
    let (name, runs, tokens) = (runtime.name(), options.runs.to_string(), options.tokens.to_string());
    let arguments = ["--no-head", "--runtime", &name, "--runs", &runs, "--tokens", &tokens];
    let status = std::env::current_exe().and_then(|program| Command::new(program).args(arguments).status());
    match status {
        Ok(status) if status.success() => return true,
        Ok(status) => complain(&name, status),
        Err(error) => complain(&name, format!("its process cannot be started: {error}")),
    }
    false
}

fn drive_one(runtime: Runtime, options: &Options) -> bool {
    let size = Size {
        runs: options.runs,
        tokens: options.tokens,
    };
    let name = runtime.name();
    match runtime.drive(size) {
        Ok(outcome) => {
            print(&line(&name, &outcome));
            outcome.problems.iter().for_each(|problem| complain(&name, problem));
            outcome.problems.is_empty()
        }
        Err(error) => {
            complain(&name, format!("the runtime cannot be started: {error}"));
            false
        }
    }
}

fn line(name: &str, outcome: &Outcome) -> String {
    let memory = peak_memory().map_or_else(|| "unknown".to_owned(), |mebibytes| format!("{mebibytes:.1}"));
    format!(
        "{name:<20} {:>10} {:>8.2} {memory:>9} {:>7} {:>6} {:>9}%",
        outcome.events,
        outcome.took.as_secs_f64(),
        outcome.streak,
        outcome.queue,
        outcome.contended,
    )
}

/// The most memory that the process has had so far, in MiB, where the system tells.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes / 1024.0)
}

// Neither panics where its stream is closed.

fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(runtime: &str, what: impl Display) {
    let _ = writeln!(io::stderr(), "{runtime}: {what}");
}
