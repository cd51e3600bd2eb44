//! Counts the allocations of all rows, and the bytes of idle things. This is a binary of its own,
//! because an allocator that counts slows everything down.

use std::alloc::System;
use std::io;
use std::process::ExitCode;

use clap::Parser;
use rappel_benches::budget;
use rappel_benches::count::count;
use rappel_benches::known::Known;
use rappel_benches::table;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Counts allocations per event, and the bytes that idle runs and handlers need.
#[derive(Debug, Parser)]
struct Cli {
    /// Counts only the rows with NAME in their name.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Prints all counts as JSON, instead of the budget.
    #[arg(long)]
    json: bool,
    /// Fails if a line of the budget is missed. A line in allocations.json may be missed, if it is no
    /// worse than recorded there.
    #[arg(long)]
    check: bool,
    /// Writes the missed lines to allocations.json.
    #[arg(long, conflicts_with = "only")]
    record: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns `false` if `--check` finds a missed line.
fn run(cli: &Cli) -> io::Result<bool> {
    let counts = count(ALLOCATOR, cli.only.as_deref());
    let budget = budget::allocations(&counts);
    if cli.json {
        println!("{}", serde_json::to_string(&counts)?);
    } else {
        let mut text = String::new();
        table::budget_table(&mut text, &budget);
        println!("{text}");
    }
    if cli.record {
        Known::of(&budget).write()?;
    }
    Ok(!cli.check || table::is_kept(&Known::read()?.widen(&budget)))
}
