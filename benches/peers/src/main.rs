//! The same work with other libraries, beside rappel: tokens of an open run for a number of
//! handlers that do nothing, on one thread.
//!
//! Prints a table, or with `--json` the input of `report --peers`. Rows of the same work are
//! measured in turn, slice by slice. Allocations are counted in another process. Each work is
//! measured in a run that started with one word, and in one that started with 25 kB of messages.
//! The top of each library's file says what is called, and how it differs.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rappel_benches::measure::{Pace, slices};
use rappel_benches::outside;
use rappel_benches::report::{Counts, PeerRow, Spread};
use rappel_benches::table::peers_table;
use rappel_peers::{Group, NOTES, Whose, groups};
use serde_json::{Value, json};

/// As many slices as with `--quick`, but longer ones, and of rows that are created anew.
const FULL: Pace = Pace { passes: 3, slices: 5, slice: Duration::from_millis(20) };

/// Compares rappel with other libraries that do the same work.
#[derive(Debug, Parser)]
struct Cli {
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Measures for some seconds only.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    NOTES.iter().for_each(|note| eprintln!("note: {note}"));
    let counts = outside::allocations_of(Path::new(env!("CARGO_MANIFEST_DIR")), None)?;
    let measured = timed(if cli.quick { Pace::QUICK } else { FULL });
    if cli.json {
        let rows: serde_json::Result<Vec<Value>> =
            measured.iter().map(|row| row.json(&counts)).collect();
        println!("{}", json!({ "rows": rows? }));
    } else {
        let rows: Vec<PeerRow> = measured.iter().map(|row| row.result(&counts)).collect();
        let mut text = String::new();
        peers_table(&mut text, &rows);
        println!("{text}");
    }
    Ok(())
}

/// A row, with its nanoseconds per event, slice by slice.
struct Measured {
    group: &'static str,
    row: String,
    whose: Whose,
    slices: Vec<f64>,
}

/// The times of all rows. Each pass creates them anew, so that a lucky layout of the heap affects
/// only a part of the slices.
fn timed(pace: Pace) -> Vec<Measured> {
    let mut all: Vec<Measured> = Vec::new();
    for pass in 1..=pace.passes {
        eprintln!("pass {pass} of {}", pace.passes);
        let of_pass: Vec<Measured> =
            groups().into_iter().flat_map(|group| timed_group(group, pace)).collect();
        for (so_far, new) in all.iter_mut().zip(&of_pass) {
            so_far.slices.extend(&new.slices);
        }
        if all.is_empty() {
            all = of_pass;
        }
    }
    all
}

fn timed_group(mut group: Group, pace: Pace) -> impl Iterator<Item = Measured> {
    let slices = slices(&mut group.rows, pace);
    let rows = group.rows.into_iter().zip(group.whose).zip(slices);
    rows.map(move |((row, whose), slices)| Measured {
        group: group.name,
        row: row.name,
        whose,
        slices,
    })
}

impl Measured {
    fn result(&self, counts: &Counts) -> PeerRow {
        let count =
            counts.rows.iter().find(|count| count.panel == self.group && count.row == self.row);
        PeerRow {
            name: self.group.to_owned(),
            peer: self.whose.peer.to_owned(),
            handlers: self.whose.handlers as u64,
            ns: Spread::of(&self.slices),
            allocations: count.map(|count| count.allocations),
            bytes: count.map(|count| count.bytes),
        }
    }

    /// The same as JSON, with the number of slices.
    fn json(&self, counts: &Counts) -> serde_json::Result<Value> {
        let mut row = serde_json::to_value(self.result(counts))?;
        row["ns"]["slices"] = self.slices.len().into();
        Ok(row)
    }
}
