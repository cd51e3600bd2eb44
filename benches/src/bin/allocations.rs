//! Counts the allocations of all rows, and the bytes of idle things: in a binary of its own, since an allocator that counts slows everything down.

use std::alloc::System;
use std::process::ExitCode;

use clap::Parser;
use rappel_benches::budget;
use rappel_benches::count::count;
use rappel_benches::table;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations an event, and the bytes of idle things.
#[derive(Debug, Parser)]
struct Cli {
    /// Leaves what has this in its name.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Prints all counts as JSON, instead of the budget's.
    #[arg(long)]
    json: bool,
    /// Fails with each line of the budget that is missed.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let counts = count(ALLOCATOR, cli.only.as_deref());
    if cli.json {
        match serde_json::to_string(&counts) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    let budget = budget::allocations(&counts);
    if !cli.json {
        let mut text = String::new();
        table::budget_table(&mut text, &budget);
        println!("{text}");
    }
    if !cli.check || table::is_kept(&budget) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
