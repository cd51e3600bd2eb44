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
    /// Takes one path with so many events: for callgrind.
    Path {
        /// Which one.
        path: Path,
        /// How many.
        #[arg(long)]
        events: u64,
    },
    /// Serves answers of so many chunks until standard input ends: for the paths of a chat.
    #[command(hide = true)]
    Serve {
        #[arg(long)]
        chunks: u64,
    },
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Takes less than a minute, and leaves out instructions.
    #[arg(long)]
    quick: bool,
    /// Leaves what has this in its name, and what that is compared with.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Fails with each line of the budget that is missed.
    #[arg(long)]
    check: bool,
    /// Builds and runs benches/peers, the same work by other libraries.
    #[arg(long)]
    peers: bool,
    /// Measures LangChain, where python3 has langchain-core.
    #[arg(long)]
    with_langchain: bool,
    /// Where report.json and the pictures go; beside this crate's sources by default.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Report(args) => report(args),
        Command::Path { path, events } => path.take(events).map(|()| true).map_err(Into::into),
        Command::Serve { chunks } => serve_until_stdin_ends(chunks).map(|()| true).map_err(Into::into),
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

/// Whether all is well: always, if nothing is to be checked.
fn report(args: ReportArgs) -> Result<bool, Box<dyn Error>> {
    let wanted = Wanted {
        quick: args.quick,
        only: args.only,
        peers: args.peers,
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
