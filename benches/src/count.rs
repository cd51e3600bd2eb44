//! Counts allocations, in the binary whose allocator counts. Nothing is timed there, because
//! counting takes time.

use std::alloc::System;
use std::thread;
use std::time::Duration;

use stats_alloc::{Stats, StatsAlloc};

use crate::fit::slope;
use crate::measure::{Probe, Row};
use crate::report::{Counts, HeldResult, RowCount};
use crate::rows::held::{self, Held};
use crate::rows::panels;

/// Calls of a row per count.
const CALLS: u64 = 3;

/// Adds up what all threads allocate during the measured part of a row's call.
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
        // A reallocated buffer counts with the bytes that it grew by.
        self.bytes += grown.bytes_allocated as u64;
    }
}

/// Counts for all rows, or those that `only` selects. `allocator` must be the global allocator.
#[must_use]
pub fn count(allocator: &'static StatsAlloc<System>, only: Option<&str>) -> Counts {
    let mut counts = Counts::default();
    for mut panel in panels(only).into_iter().filter(|panel| panel.counted) {
        for row in &mut panel.rows {
            counts.rows.push(count_row(allocator, &panel.name, row));
        }
    }
    let held =
        held::all().into_iter().filter(|held| only.is_none_or(|only| held.name.contains(only)));
    counts.held = held.map(|held| count_held(allocator, &held)).collect();
    counts
}

/// Counts for one row. `allocator` must be the global allocator.
pub fn count_row(allocator: &'static StatsAlloc<System>, panel: &str, row: &mut Row) -> RowCount {
    let mut counter = Counter { allocator, begun: Stats::default(), allocations: 0, bytes: 0 };
    // The first call starts threads and grows queues.
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
    // A worker that lingers holds buffers of its own. It leaves after some milliseconds.
    let settled = || {
        let (mut last, mut same) = (live(), 0);
        while same < 5 {
            thread::sleep(Duration::from_millis(4));
            let now = live();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    };
    let bytes_of = |number: u64| {
        let mut before = 0;
        let things = held.make(number, || before = settled());
        let bytes = (settled() - before) as f64;
        drop(things);
        (number, bytes)
    };
    let points: Vec<_> = held.numbers().into_iter().map(bytes_of).collect();
    let line: Vec<_> = points.iter().map(|(number, bytes)| (*number as f64, *bytes)).collect();
    HeldResult { name: held.name.clone(), bytes_each: slope(&line), points }
}
