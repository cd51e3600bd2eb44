//! The same work by other libraries, beside rappel: one token to so many handlers that do nothing, on one thread, in the middle of a run.
//!
//! Prints a table, or with `--json` what `report --peers` reads. Rows of the same work are measured in turn, slice by slice; allocations are counted
//! in a process of its own. Each work is measured in a run that began with a word, and in one that began with 25 kB of messages. What is called of a
//! library, and how that differs, stands at the top of its file.

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

/// As many slices as in a hurry, but longer ones, and of things made anew.
const FULL: Pace = Pace {
    passes: 3,
    slices: 5,
    slice: Duration::from_millis(20),
};

/// The same work by other libraries, beside rappel.
#[derive(Debug, Parser)]
struct Cli {
    /// Prints JSON, instead of a table.
    #[arg(long)]
    json: bool,
    /// Takes seconds.
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
        let rows: serde_json::Result<Vec<Value>> = measured.iter().map(|row| row.json(&counts)).collect();
        println!("{}", json!({ "rows": rows? }));
    } else {
        let rows: Vec<PeerRow> = measured.iter().map(|row| row.result(&counts)).collect();
        let mut text = String::new();
        peers_table(&mut text, &rows);
        println!("{text}");
    }
    Ok(())
}

/// A row, and nanoseconds an event of it, slice by slice.
struct Measured {
    group: &'static str,
    row: String,
    whose: Whose,
    slices: Vec<f64>,
}

/// The times of all rows. Each pass makes all anew: what a lucky heap does, it does to a part only.
fn timed(pace: Pace) -> Vec<Measured> {
    let mut all: Vec<Measured> = Vec::new();
    for pass in 1..=pace.passes {
        eprintln!("pass {pass} of {}", pace.passes);
        let of_pass: Vec<Measured> = groups().into_iter().flat_map(|group| timed_group(group, pace)).collect();
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
        let count = counts.rows.iter().find(|count| count.panel == self.group && count.row == self.row);
        PeerRow {
            name: self.group.to_owned(),
            peer: self.whose.peer.to_owned(),
            handlers: self.whose.handlers as u64,
            ns: Spread::of(&self.slices),
            allocations: count.map(|count| count.allocations),
            bytes: count.map(|count| count.bytes),
        }
    }

    /// The same as JSON, with how many slices it is of.
    fn json(&self, counts: &Counts) -> serde_json::Result<Value> {
        let mut row = serde_json::to_value(self.result(counts))?;
        row["ns"]["slices"] = self.slices.len().into();
        Ok(row)
    }
}
