//! Counting allocations: for the binary whose allocator counts. Timing is not done there, as counting costs.

use std::alloc::System;

use stats_alloc::{Stats, StatsAlloc};

use crate::fit::slope;
use crate::measure::{Probe, Row};
use crate::report::{Counts, HeldResult, RowCount};
use crate::rows::held::{self, Held};
use crate::rows::panels;

/// How often a row is called for a count.
const CALLS: u64 = 3;

/// Adds up what is allocated while a row's call counts, on all threads.
struct Counter {
    allocator: &'static StatsAlloc<System>,
    begun: Stats,
    allocations: u64,
    bytes: u64,
}

impl Probe for Counter {
    fn begin(&mut self) {
        self.begun = self.allocator.stats();
    }

    fn end(&mut self) {
        let grown = self.allocator.stats() - self.begun;
        self.allocations += (grown.allocations + grown.reallocations) as u64;
        // A buffer that grows where it is, or moves, counts by what it grows.
        self.bytes += grown.bytes_allocated as u64;
    }
}

/// Counts for all rows, or those that `only` leaves. That allocator must be the process's own.
#[must_use]
pub fn count(allocator: &'static StatsAlloc<System>, only: Option<&str>) -> Counts {
    let mut counts = Counts::default();
    for mut panel in panels(only).into_iter().filter(|panel| panel.counted) {
        for row in &mut panel.rows {
            counts.rows.push(count_row(allocator, &panel.name, row));
        }
    }
    let held = held::all()
        .into_iter()
        .filter(|held| only.is_none_or(|only| held.name.contains(only)));
    counts.held = held.map(|held| count_held(allocator, &held)).collect();
    counts
}

/// Counts for one row. That allocator must be the process's own.
pub fn count_row(allocator: &'static StatsAlloc<System>, panel: &str, row: &mut Row) -> RowCount {
    let mut counter = Counter {
        allocator,
        begun: Stats::default(),
        allocations: 0,
        bytes: 0,
    };
    // Threads start, and queues get their room.
    row.call(&mut counter);
    (counter.allocations, counter.bytes) = (0, 0);
    (0..CALLS).for_each(|_| row.call(&mut counter));
    let events = (CALLS * row.events) as f64;
    RowCount {
        panel: panel.to_owned(),
        row: row.name.clone(),
        allocations: counter.allocations as f64 / events,
        bytes: counter.bytes as f64 / events,
    }
}

fn count_held(allocator: &'static StatsAlloc<System>, held: &Held) -> HeldResult {
    let live = || {
        let stats = allocator.stats();
        stats.bytes_allocated as i64 - stats.bytes_deallocated as i64
    };
    let bytes_of = |number: u64| {
        let mut before = 0;
        let things = held.make(number, || before = live());
        let bytes = (live() - before) as f64;
        drop(things);
        (number, bytes)
    };
    let points: Vec<_> = held::NUMBERS.into_iter().map(bytes_of).collect();
    HeldResult {
        name: held.name.clone(),
        bytes_each: slope(&points.iter().map(|(number, bytes)| (*number as f64, *bytes)).collect::<Vec<_>>()),
        points,
    }
}
