//! The budget: what a report is held to. All but the bytes and the time of what nobody hears are ratios within one run.

use crate::measure::quotients;
use crate::report::{Counts, Report, RowResult, Spread, Verdict};

/// None: what the measure itself makes once, in thousands of events, is not an event's.
const NO_ALLOCATION: f64 = 0.001;
/// None, where a lane gives its thread back after some hundred calls, for the executor to box the next job.
const A_JOB_NOW_AND_THEN: f64 = 0.02;
/// Flat: over five powers of ten, the cost does not double.
const FLAT: f64 = 0.05;
/// Linear, and a little for the caches.
const LINEAR: f64 = 1.1;

const UNHEARD: &str = "a token that nobody hears";
const ASYNC: &str = "a token for async handlers";
const QUEUED: &str = "a token for a sync handler, queued";
const AWAITED: &str = "a token for a sync handler, awaited";

/// All lines of the budget, with what was measured of them.
#[must_use]
pub fn verdicts(report: &Report, counts: &Counts) -> Vec<Verdict> {
    let book = Book(report);
    let mut lines = allocations(counts);
    for row in ["nobody listens", "a handler listens, but not to tokens"] {
        lines.push(book.beyond(UNHEARD, row, "a load and a branch", 1.0));
    }
    lines.extend([
        book.ratio(ASYNC, "1 async handler", "1 dyn async_trait call in a loop", 2.5),
        book.ratio(ASYNC, "4 async handlers", "4 dyn async_trait calls in a loop", 1.0),
        book.ratio(ASYNC, "16 async handlers", "16 dyn async_trait calls in a loop", 0.75),
        book.ratio(QUEUED, "1 pipelined sync handler", "a bounded flume channel to 1 thread", 1.0),
        book.ratio(AWAITED, "1 awaited sync handler", "1 acknowledging thread", 1.5),
        book.ratio(AWAITED, "1 awaited sync handler", "one spawn_blocking an event", 1.0 / 3.0),
        book.peer_ratio("rig", 1, 1.0),
        book.peer_ratio("rig", 4, 0.6),
        book.peer_ratio("lc-callbacks", 4, 1.0 / 40.0),
        book.growth("growth with handlers", LINEAR),
        book.growth("growth with runs in flight", FLAT),
        book.growth("growth with the history", FLAT),
        book.growth("growth with events so far", FLAT),
        book.callbacks_of_chat("chat-4", 5.0),
        book.stall("loop stall: a sync handler that sleeps 50 ms an event", 2.0),
    ]);
    lines
}

/// The lines that do not depend on the machine's mood: allocations, and bytes of idle things.
#[must_use]
pub fn allocations(counts: &Counts) -> Vec<Verdict> {
    let allocated = |panel: &str, row: &str, at_most| {
        let count = counts.rows.iter().find(|count| count.panel == panel && count.row == row);
        let measured = count.map(|count| count.allocations);
        verdict(format!("{panel}: {row}"), at_most, measured, "allocations an event")
    };
    let none = |panel, row| allocated(panel, row, NO_ALLOCATION);
    let held = |name: String, at_most: f64| {
        let measured = counts.held.iter().find(|held| held.name == name).map(|held| held.bytes_each);
        verdict(name, at_most, measured, "bytes")
    };
    let mut lines = vec![
        none(UNHEARD, "nobody listens"),
        none(UNHEARD, "a handler listens, but not to tokens"),
    ];
    lines.extend(["1 async handler", "4 async handlers", "16 async handlers"].map(|row| none(ASYNC, row)));
    lines.push(allocated(QUEUED, "1 pipelined sync handler", A_JOB_NOW_AND_THEN));
    for run in ["1 async handler", "1 awaited sync handler", "1 pipelined sync handler"] {
        lines.push(held(format!("an idle run with {run}"), 1_024.0));
    }
    for handler in ["async", "awaited sync", "pipelined sync", "background sync"] {
        lines.push(held(format!("an idle handler, {handler}"), 512.0));
    }
    lines
}

struct Book<'a>(&'a Report);

impl<'a> Book<'a> {
    fn row(&self, panel: &str, row: &str) -> Option<&'a RowResult> {
        let panel = self.0.panels.iter().find(|candidate| candidate.name == panel)?;
        panel.rows.iter().find(|candidate| candidate.name == row)
    }

    /// Both rows, slice by slice.
    fn pair(&self, panel: &str, row: &str, reference: &str) -> Option<(&'a [f64], &'a [f64])> {
        let slices = |row| self.row(panel, row).map(|row| &*row.slices).filter(|slices| !slices.is_empty());
        slices(row).zip(slices(reference))
    }

    fn ratio(&self, panel: &str, row: &str, reference: &str, at_most: f64) -> Verdict {
        let pair = self.pair(panel, row, reference);
        let measured = pair.map(|(row, reference)| Spread::of(&quotients(row, reference)).median);
        verdict(format!("{panel}: {row}, by {reference}"), at_most, measured, "times")
    }

    fn beyond(&self, panel: &str, row: &str, reference: &str, at_most: f64) -> Verdict {
        let difference = |(row, reference): (&[f64], &[f64])| row.iter().zip(reference).map(|(row, reference)| row - reference).collect();
        let measured = self.pair(panel, row, reference).map(|pair| {
            let differences: Vec<f64> = difference(pair);
            Spread::of(&differences).median
        });
        verdict(format!("{panel}: {row}, beyond {reference}"), at_most, measured, "ns")
    }

    fn growth(&self, panel: &str, at_most: f64) -> Verdict {
        let measured = self.0.panels.iter().find(|candidate| candidate.name == panel);
        let measured = measured.and_then(|panel| panel.growth.as_ref()).map(|growth| growth.log_log_slope);
        verdict(panel.to_owned(), at_most, measured.filter(|slope| slope.is_finite()), "as exponent")
    }

    fn stall(&self, name: &str, at_most: f64) -> Verdict {
        let measured = self.0.stall.iter().find(|stall| stall.name == name).map(|stall| stall.ratio.median);
        verdict(
            format!("{name}: p99 of a 1 ms ticker, by that without a handler"),
            at_most,
            measured,
            "times",
        )
    }

    /// rappel's time by a peer's, for the work in which it is largest.
    fn peer_ratio(&self, peer: &str, handlers: u64, at_most: f64) -> Verdict {
        let of = |peer: &'static str| self.0.peers.iter().filter(move |row| row.peer == peer && row.handlers == handlers);
        let theirs = self.0.peers.iter().filter(|row| row.peer == peer && row.handlers == handlers);
        let ratios = theirs.filter_map(|theirs| {
            let ours = of("rappel").find(|ours| ours.name == theirs.name)?;
            Some(ours.ns.median / theirs.ns.median)
        });
        let measured = ratios.reduce(f64::max);
        verdict(
            format!("the same work for handlers ({handlers}), by that of {peer}"),
            at_most,
            measured,
            "times",
        )
    }

    /// The share of instructions that callbacks add to a streamed answer, in per cent.
    fn callbacks_of_chat(&self, path: &str, at_most: f64) -> Verdict {
        let of = |path: &str| {
            self.0
                .instructions
                .iter()
                .find(|count| count.path == path)
                .map(|count| count.instructions)
        };
        let measured = of(path).zip(of("chat-bare")).map(|(with, without)| (with / without - 1.0) * 100.0);
        verdict(
            format!("instructions of {path}, beyond ChatOpenAi without callbacks"),
            at_most,
            measured,
            "%",
        )
    }
}

fn verdict(what: String, at_most: f64, measured: Option<f64>, unit: &str) -> Verdict {
    Verdict {
        what,
        at_most,
        measured,
        unit: unit.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Machine, PathCount, PeerRow};

    fn report() -> Report {
        Report {
            taken_at: 0,
            machine: Machine {
                processor: String::new(),
                processors: 1,
                system: String::new(),
            },
            quick: false,
            panels: Vec::new(),
            stall: Vec::new(),
            held: Vec::new(),
            instructions: Vec::new(),
            peers: Vec::new(),
            budget: Vec::new(),
        }
    }

    fn peer(name: &str, peer: &str, median: f64) -> PeerRow {
        let ns = Spread {
            median,
            low: median,
            high: median,
        };
        PeerRow {
            name: name.to_owned(),
            peer: peer.to_owned(),
            handlers: 4,
            ns,
            allocations: None,
            bytes: None,
        }
    }

    fn missed(report: &Report) -> Vec<String> {
        let verdicts = verdicts(report, &Counts::default());
        verdicts
            .iter()
            .filter(|line| line.is_missed())
            .map(|line| line.what.clone())
            .collect()
    }

    #[test]
    fn a_peer_is_compared_by_the_same_work_and_the_worst_of_it_counts() {
        let mut report = report();
        report.peers = vec![peer("a token", "rig", 100.0), peer("a token", "rappel", 50.0)];
        report
            .peers
            .extend([peer("a history", "rig", 100.0), peer("a history", "rappel", 59.0)]);
        assert_eq!(missed(&report), Vec::<String>::new());
        report.peers[3].ns.median = 61.0;
        assert_eq!(missed(&report), ["the same work for handlers (4), by that of rig"]);
    }

    #[test]
    fn callbacks_may_take_a_twentieth_of_an_answer() {
        let mut report = report();
        let count = |path: &str, instructions| PathCount {
            path: path.to_owned(),
            instructions,
        };
        report.instructions = vec![count("chat-bare", 1_000.0), count("chat-4", 1_040.0)];
        assert_eq!(missed(&report).len(), 0);
        report.instructions[1].instructions = 1_060.0;
        assert_eq!(missed(&report).len(), 1);
    }
}
