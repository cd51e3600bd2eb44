//! Many runs at once on a runtime:
//!
//!     cargo run --release -p rappel-tests --bin load -- --runtime all
//!     cargo run --release -p rappel-tests --bin load -- --soak --minutes 10
//!
//! The load: a thousand runs of a thousand tokens go to two async and four sync handlers at the
//! same time. Of the sync ones, one fails, one is slow, and one is in the background. Each handler
//! checks that it gets every event of every run, in order, and once. Afterwards the manager's
//! numbers must add up. One line per runtime has these figures:
//!
//! - `events`: calls of all handlers.
//! - `streak`: a sync handler's longest row of calls for one run while another run was open.
//! - `queue`: the most events of one run that waited for a handler.
//! - `contended`: the share of the sync handlers' calls that began while another run certainly
//!   waited. Only there does the check that runs are served in turn mean something.
//!
//! The soak: rounds of run trees for a number of minutes in all, with aborts, time-outs, panics,
//! nested emits and shutdowns. After each round the books must be exact: every start that a handler
//! got has one end, every call that began is done, and for each handler the handled, failed,
//! dropped and coalesced events add up to the emitted ones. `--seed` repeats the random choices of
//! a soak; the schedule of threads still differs.
//!
//! `--runtime all`, the default, runs each runtime in its own process, so that the peak of memory
//! is its own. The exit status is 1 if anything is wrong, and standard error says what.

mod drive;
mod handlers;
mod load;
mod soak;
mod stall;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use rappel_async_std::AsyncStd;
use rappel_core::{BlockingExecutor, Spawner, Timer};
use rappel_smol::Smol;
use rappel_tokio::Tokio;
use tokio::runtime::Builder;

use self::drive::{Outcome, drive};
use self::load::Size;
use self::soak::{Soaked, soak};

/// Emits many runs at once, and checks that every handler gets all of them.
#[derive(Parser)]
struct Options {
    /// The runtime.
    #[arg(long, default_value = "all")]
    runtime: Runtime,
    /// Number of concurrent runs.
    #[arg(long, default_value_t = 1000)]
    runs: usize,
    /// Number of tokens of each run.
    #[arg(long, default_value_t = 1000)]
    tokens: usize,
    /// Runs the soak test instead: aborts, time-outs, panics, nested emits and shutdowns.
    #[arg(long)]
    soak: bool,
    /// The duration of the soak in minutes, for all runtimes together.
    #[arg(long, default_value_t = 1.0, requires = "soak")]
    minutes: f64,
    /// The seed of the soak's random choices. Default: a new one.
    #[arg(long, requires = "soak")]
    seed: Option<u64>,
    /// Prints no table head: for a process that prints one line of the table.
    #[arg(long, hide = true)]
    no_head: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Runtime {
    Tokio,
    TokioCurrentThread,
    AsyncStd,
    Smol,
    /// Each of the other runtimes, in its own process.
    All,
}

/// What runs on a runtime.
#[derive(Clone, Copy)]
enum Job {
    Load(Size),
    Soak(Duration, u64),
}

/// What came of it.
enum Done {
    Load(Outcome),
    Soak(Soaked),
}

impl Job {
    async fn run<R: Spawner + BlockingExecutor + Timer>(self, runtime: R) -> Done {
        match self {
            Self::Load(size) => Done::Load(drive(runtime, size).await),
            Self::Soak(time, seed) => Done::Soak(soak(runtime, time, seed).await),
        }
    }
}

impl Runtime {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, job: Job) -> io::Result<Done> {
        match self {
            Self::Tokio => run_on_tokio(Builder::new_multi_thread(), job),
            Self::TokioCurrentThread => run_on_tokio(Builder::new_current_thread(), job),
            Self::AsyncStd => Ok(async_std::task::block_on(job.run(AsyncStd::new()))),
            Self::Smol => Ok(smol::block_on(job.run(Smol::global()))),
            Self::All => Err(io::Error::other("all is not a runtime")),
        }
    }

    /// The runtimes that `all` stands for.
    fn each() -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|runtime| *runtime != Self::All).collect()
    }
}

fn run_on_tokio(mut builder: Builder, job: Job) -> io::Result<Done> {
    let runtime = builder.enable_all().build()?;
    Ok(runtime.block_on(async { job.run(Tokio::current()).await }))
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    options.seed = options.seed.or_else(|| options.soak.then(new_seed));
    if !options.no_head {
        print(&head(options.soak));
    }
    let good = match options.runtime {
        Runtime::All => run_all(&options),
        one => run_one(one, &options),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) | now.as_secs() << 32
}

/// Runs all runtimes, also those after one that fails.
fn run_all(options: &Options) -> bool {
    let runtimes = Runtime::each();
    let minutes = options.minutes / runtimes.len() as f64;
    let failed = runtimes.into_iter().filter(|runtime| !run_in_child(*runtime, options, minutes));
    failed.count() == 0
}

fn run_in_child(runtime: Runtime, options: &Options, minutes: f64) -> bool {
    let name = runtime.name();
    let mut arguments = vec!["--no-head".to_owned(), "--runtime".to_owned(), name.clone()];
    let mut with = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    with("--runs", options.runs.to_string());
    with("--tokens", options.tokens.to_string());
    if let Some(seed) = options.seed {
        with("--minutes", minutes.to_string());
        with("--seed", seed.to_string());
        arguments.push("--soak".to_owned());
    }
    let program = std::env::current_exe();
    let status = program.and_then(|program| Command::new(program).args(arguments).status());
    match status {
        Ok(status) if status.success() => return true,
        Ok(status) => complain(&name, status),
        Err(error) => complain(&name, format!("its process cannot be started: {error}")),
    }
    false
}

fn run_one(runtime: Runtime, options: &Options) -> bool {
    let job = match options.seed {
        Some(seed) => Job::Soak(Duration::from_secs_f64(options.minutes * 60.0), seed),
        None => Job::Load(Size { runs: options.runs, tokens: options.tokens }),
    };
    let name = runtime.name();
    let problems = match runtime.run(job) {
        Ok(Done::Load(outcome)) => {
            print(&line(&name, &outcome));
            outcome.problems
        }
        Ok(Done::Soak(soaked)) => {
            print(&soak_line(&name, &soaked));
            soaked.problems
        }
        Err(error) => vec![format!("the runtime cannot be started: {error}")],
    };
    problems.iter().for_each(|problem| complain(&name, problem));
    problems.is_empty()
}

fn head(soak: bool) -> String {
    let columns = if soak {
        ["runtime", "events", "seconds", "peak MiB", "rounds", "runs", "closed"]
    } else {
        ["runtime", "events", "seconds", "peak MiB", "streak", "queue", "contended"]
    };
    row(columns.map(str::to_owned))
}

fn line(name: &str, outcome: &Outcome) -> String {
    row([
        name.to_owned(),
        outcome.events.to_string(),
        format!("{:.2}", outcome.took.as_secs_f64()),
        peak_memory(),
        outcome.streak.to_string(),
        outcome.queue.to_string(),
        format!("{}%", outcome.contended),
    ])
}

fn soak_line(name: &str, soaked: &Soaked) -> String {
    row([
        name.to_owned(),
        soaked.events.to_string(),
        format!("{:.2}", soaked.took.as_secs_f64()),
        peak_memory(),
        soaked.rounds.to_string(),
        soaked.runs.to_string(),
        soaked.closed.to_string(),
    ])
}

fn row([name, events, seconds, memory, rest @ ..]: [String; 7]) -> String {
    let [first, second, third] = rest;
    format!("{name:<20} {events:>10} {seconds:>8} {memory:>9} {first:>7} {second:>8} {third:>10}")
}

/// The peak of this process's memory in MiB, or "unknown".
fn peak_memory() -> String {
    let kibibytes = || {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()
    };
    kibibytes()
        .map_or_else(|| "unknown".to_owned(), |kibibytes| format!("{:.1}", kibibytes / 1024.0))
}

// Neither panics if its stream is closed.

fn print(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn complain(runtime: &str, what: impl Display) {
    let _ = writeln!(io::stderr(), "{runtime}: {what}");
}
