//! Counts the allocations of all libraries. This is a binary of its own, because an allocator that
//! counts slows everything down.

use std::alloc::System;
use std::process::ExitCode;

use rappel_benches::count::count_row;
use rappel_benches::report::Counts;
use rappel_peers::groups;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> ExitCode {
    let mut counts = Counts::default();
    for mut group in groups() {
        for row in &mut group.rows {
            counts.rows.push(count_row(ALLOCATOR, group.name, row));
        }
    }
    match serde_json::to_string(&counts) {
        Ok(text) => println!("{text}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
