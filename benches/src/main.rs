//! The report, and the paths that callgrind counts: `rappel-benches --help`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rappel_benches::path::{Path, serve_until_stdin_ends};
use rappel_benches::run::{Wanted, run};
use rappel_benches::{outside, plot, table};

/// rappel's benchmarks.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measures everything in turn, prints tables, and writes report.json and pictures.
    Report(ReportArgs),
    /// Sends a number of events along one path, for callgrind.
    Path {
        /// The path.
        path: Path,
        /// The number of events.
        #[arg(long)]
        events: u64,
    },
    /// Serves answers with this number of chunks until standard input ends, for the paths of a chat.
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        chunks: u64,
    },
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Measures for about a minute only, and does not count instructions.
    #[arg(long)]
    quick: bool,
    /// Measures only the rows with NAME in their name, and the rows that they are compared with.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Fails if a line of the budget is missed.
    #[arg(long)]
    check: bool,
    /// Builds and runs benches/peers: the same work with other libraries.
    #[arg(long)]
    peers: bool,
    /// Builds version 1 from git and measures it before everything else.
    #[arg(long)]
    version1: bool,
    /// Measures LangChain, if python3 has langchain-core.
    #[arg(long)]
    with_langchain: bool,
    /// The directory for report.json and the pictures. Default: `report`, beside this crate's sources.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Report(args) => report(args),
        Command::Path { path, events } => path.take(events).map(|()| true).map_err(Into::into),
        Command::Serve { chunks } => {
            serve_until_stdin_ends(chunks).map(|()| true).map_err(Into::into)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns `false` if `--check` finds a missed line.
fn report(args: ReportArgs) -> Result<bool, Box<dyn Error>> {
    let wanted = Wanted {
        quick: args.quick,
        only: args.only,
        peers: args.peers,
        version1: args.version1,
        langchain: args.with_langchain,
    };
    let report = run(&wanted)?;
    println!("{}", table::all(&report));
    let directory = args.out.unwrap_or_else(|| outside::home().join("report"));
    plot::all(&report, &directory)?;
    fs::write(directory.join("report.json"), serde_json::to_string_pretty(&report)? + "\n")?;
    eprintln!("written to {}", directory.display());
    Ok(!args.check || table::is_kept(&report.budget))
}
