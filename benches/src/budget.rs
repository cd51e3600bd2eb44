//! The budget: the limits that a report is held to. Most are ratios within one run.
//!
//! Each line has the figure of version 1 beside it: measured in the same run with
//! `report --version1`, else the recorded one.

use crate::handlers::Kind;
use crate::host::Host;
use crate::measure::quotients;
use crate::report::{Counts, Report, RowResult, Spread, StallResult, Verdict};
use crate::rows::{held, stall};

/// No allocation. The measurement itself allocates once in thousands of events.
const NO_ALLOCATION: f64 = 0.001;
/// No allocation, except that a lane gives its thread back after some hundred calls, and the
/// executor boxes the next job.
const A_JOB_NOW_AND_THEN: f64 = 0.02;
/// Flat: the cost grows by less than a factor of two over five powers of ten.
const FLAT: f64 = 0.05;
/// Flat, for work that touches each run: memory beyond the processor's caches is slower.
const FLAT_BUT_FOR_CACHES: f64 = 0.1;
/// Linear, and some more for the caches.
const LINEAR: f64 = 1.1;
/// `n log n`, per handler: from 16 to 16,384 handlers, the logarithm grows with this exponent.
const LOGARITHMIC: f64 = 0.18;

pub(crate) const UNHEARD: &str = "a token that no handler wants";
/// The row of [`UNHEARD`] for a manager without handlers.
pub(crate) const NO_HANDLER: &str = "no handler";
const ASYNC: &str = "a token for async handlers";
const INLINE: &str = "a token for an inline handler";
const QUEUED: &str = "a token for a sync handler, queued";
const AWAITED: &str = "a token for a sync handler, awaited";
const AWAITED_RUN: &str = "a run of 1000 tokens with 1 awaited sync handler";

/// The limits of instructions, version 1's counts, and the recorded ones.
const INSTRUCTIONS: &str = include_str!("../instructions.toml");

/// A line of the budget.
struct Line {
    what: String,
    at_most: f64,
    unit: &'static str,
    /// Version 1's recorded figure.
    version1: Option<f64>,
    measure: Box<dyn Fn(Book<'_>) -> Option<f64>>,
}

impl Line {
    fn new(
        what: impl Into<String>,
        at_most: f64,
        unit: &'static str,
        measure: impl Fn(Book<'_>) -> Option<f64> + 'static,
    ) -> Self {
        let measure = Box::new(measure);
        Self { what: what.into(), at_most, unit, version1: None, measure }
    }

    /// Sets version 1's recorded figure.
    fn version1(mut self, figure: f64) -> Self {
        self.version1 = Some(figure);
        self
    }

    fn verdict(&self, now: Book<'_>, version1: Option<Book<'_>>) -> Verdict {
        let measured = version1.and_then(|book| (self.measure)(book));
        Verdict {
            what: self.what.clone(),
            at_most: self.at_most,
            measured: (self.measure)(now),
            unit: self.unit.to_owned(),
            version1: measured.or(self.version1),
            version1_is_measured: measured.is_some(),
        }
    }
}

/// All lines of the budget with their figures. `version1` is a report of version 1 of the same run.
#[must_use]
pub fn verdicts(report: &Report, counts: &Counts, version1: Option<&Report>) -> Vec<Verdict> {
    let now = Book { report: Some(report), counts };
    let counts_of_version1 = version1.map(Report::counts);
    let version1 = version1
        .zip(counts_of_version1.as_ref())
        .map(|(report, counts)| Book { report: Some(report), counts });
    let mut lines = counted();
    lines.extend(timed());
    lines.iter().map(|line| line.verdict(now, version1)).collect()
}

/// The lines that do not depend on the load of the machine: allocations, and bytes of idle things.
#[must_use]
pub fn allocations(counts: &Counts) -> Vec<Verdict> {
    let now = Book { report: None, counts };
    counted().iter().map(|line| line.verdict(now, None)).collect()
}

fn counted() -> Vec<Line> {
    let mut lines = vec![
        allocated(UNHEARD, NO_HANDLER, NO_ALLOCATION).version1(0.0),
        allocated(UNHEARD, "a handler listens, but not to tokens", NO_ALLOCATION).version1(0.0),
    ];
    for row in ["1 async handler", "4 async handlers", "16 async handlers"] {
        lines.push(allocated(ASYNC, row, NO_ALLOCATION).version1(0.0));
    }
    lines.push(allocated(INLINE, "1 inline sync handler", NO_ALLOCATION).version1(1.0));
    let queued = "1 pipelined sync handler";
    lines.push(allocated(QUEUED, queued, A_JOB_NOW_AND_THEN).version1(0.004));
    let queued = "1 pipelined sync handler, tokens of 24 bytes";
    lines.push(allocated(QUEUED, queued, A_JOB_NOW_AND_THEN));
    let version1 = [Some(688.0), Some(928.0), Some(937.0), None];
    for (kind, version1) in held::KINDS.into_iter().zip(version1) {
        let mut line = held(format!("an idle run with {}", kind.of(1)), 1_024.0);
        line.version1 = version1;
        lines.push(line);
    }
    lines.extend(held::KINDS.map(each_further_handler));
    for held in held::all().into_iter().filter(|held| held.name.contains("tokens of")) {
        lines.push(self::held(held.name, 2_048.0));
    }
    for (kind, version1) in held::KINDS.into_iter().zip([328.0, 512.0, 512.0, 512.0]) {
        let name = format!("an idle handler, {}", kind.name());
        lines.push(held(name, 512.0).version1(version1));
    }
    lines
}

fn timed() -> Vec<Line> {
    let calls = |handlers: usize| match handlers {
        1 => "1 dyn async_trait call in a loop".to_owned(),
        _ => format!("{handlers} dyn async_trait calls in a loop"),
    };
    let mut lines = vec![
        beyond(UNHEARD, NO_HANDLER, "a load and a branch", 1.0).version1(2.65),
        beyond(UNHEARD, "a handler listens, but not to tokens", "a load and a branch", 1.0)
            .version1(2.52),
    ];
    for (handlers, at_most, version1) in [(1, 2.2, 4.17), (4, 0.9, 1.53), (16, 0.5, 0.85)] {
        let line = ratio(ASYNC, &Kind::Async.of(handlers), &calls(handlers), at_most);
        lines.push(line.version1(version1));
    }
    for (handlers, at_most, version1) in [(1, 2.2, 4.73), (4, 0.95, 1.68), (16, 0.55, 0.9)] {
        lines.push(by_peer("rig", handlers, at_most).version1(version1));
    }
    let flume = "a bounded flume channel to 1 thread";
    lines.extend([
        by_peer("lc-callbacks", 4, 1.0 / 45.0).version1(0.0402),
        ratio(INLINE, "1 inline sync handler", &calls(1), 2.2).version1(9.27),
        ratio(QUEUED, "1 pipelined sync handler", flume, 0.8).version1(2.76),
    ]);
    lines.extend(awaited());
    lines.extend([
        growth("growth with handlers", LINEAR).version1(0.936),
        growth("growth with runs in flight", FLAT).version1(0.001),
        growth("growth with siblings in flight", FLAT),
        growth("growth with the depth of the run tree", FLAT),
        growth("growth with the depth of the run tree: starts and ends", FLAT_BUT_FOR_CACHES),
        growth("growth with the depth of the run tree: closing", FLAT_BUT_FOR_CACHES),
        growth("growth with the history", FLAT).version1(0.000),
        growth("growth with events so far", FLAT).version1(0.001),
        growth("growth with registrations", LOGARITHMIC),
        growth("growth with registrations, by value", LOGARITHMIC),
    ]);
    lines.extend(instructions());
    let chats = section("chat").map(|(path, at_most)| callbacks_of_chat(path, at_most));
    lines.extend(chats.map(|line| line.version1(10.8)));
    let by_none = format!("{}: a ticker's p99, by that without a handler", stall::SLEEPING);
    lines.extend([
        stalled(by_none, stall::SLEEPING, 1.5, "times", |stall| Some(stall.ratio)).version1(1.03),
        stalled(format!("{}: a ticker's p99", stall::READY), stall::READY, 5.0, "ms", |stall| {
            Some(stall.p99_of_slices)
        })
        .version1(21.8),
        stalled(
            format!("{}: without a turn of a background handler", stall::READY),
            stall::READY,
            1_024.0,
            "tokens",
            |stall| stall.row_without_turn,
        )
        .version1(19_936.0),
    ]);
    lines
}

/// An awaited sync handler, on each runtime and in their median.
fn awaited() -> Vec<Line> {
    let by_thread = |book: Book<'_>, host: &str| {
        let ours = format!("{host}: 1 awaited sync handler");
        book.ratio(AWAITED_RUN, &ours, &format!("{host}: 1 acknowledging thread"))
    };
    let what = |whose: &str| format!("{AWAITED_RUN}, by 1 acknowledging thread: {whose}");
    let median = Line::new(what("median of the runtimes"), 1.2, "times", move |book| {
        let of_hosts = Host::NAMES.iter().map(|host| by_thread(book, host));
        Some(Spread::of(&of_hosts.collect::<Option<Vec<_>>>()?).median)
    });
    let mut lines = vec![median.version1(1.88)];
    for (host, version1) in Host::NAMES.into_iter().zip([2.48, 1.35, 2.41, 1.19]) {
        let line = Line::new(what(host), 1.5, "times", move |book| by_thread(book, host));
        lines.push(line.version1(version1));
    }
    let spawned = "one spawn_blocking an event";
    lines.push(ratio(AWAITED, "1 awaited sync handler", spawned, 0.5).version1(0.63));
    lines
}

fn allocated(panel: &'static str, row: &'static str, at_most: f64) -> Line {
    let what = format!("{panel}: {row}");
    Line::new(what, at_most, "allocations an event", move |book| book.allocations(panel, row))
}

fn held(name: String, at_most: f64) -> Line {
    Line::new(name.clone(), at_most, "bytes", move |book| book.held(&name))
}

fn each_further_handler(kind: Kind) -> Line {
    let what = format!("an idle run, each further handler, {}", kind.name());
    Line::new(what, 128.0, "bytes", move |book| {
        let with = |handlers| book.held(&format!("an idle run with {}", kind.of(handlers)));
        Some((with(16)? - with(1)?) / 15.0)
    })
}

fn ratio(panel: &'static str, row: &str, reference: &str, at_most: f64) -> Line {
    let what = format!("{panel}: {row}, by {reference}");
    let (row, reference) = (row.to_owned(), reference.to_owned());
    Line::new(what, at_most, "times", move |book| book.ratio(panel, &row, &reference))
}

fn beyond(panel: &'static str, row: &'static str, reference: &'static str, at_most: f64) -> Line {
    let what = format!("{panel}: {row}, beyond {reference}");
    Line::new(what, at_most, "ns", move |book| {
        let (row, reference) = book.pair(panel, row, reference)?;
        let differences: Vec<_> =
            row.iter().zip(reference).map(|(row, reference)| row - reference).collect();
        Some(Spread::of(&differences).median)
    })
}

/// rappel's time divided by another library's, for the work with the highest ratio.
fn by_peer(peer: &'static str, handlers: u64, at_most: f64) -> Line {
    let what = format!("the same work for handlers ({handlers}), by that of {peer}");
    Line::new(what, at_most, "times", move |book| {
        let rows = &book.report?.peers;
        let of = |peer: &'static str| {
            rows.iter().filter(move |row| row.peer == peer && row.handlers == handlers)
        };
        let ratios = of(peer).filter_map(|theirs| {
            let ours = of("rappel").find(|ours| ours.name == theirs.name)?;
            Some(ours.ns.median / theirs.ns.median)
        });
        ratios.reduce(f64::max)
    })
}

fn growth(panel: &'static str, at_most: f64) -> Line {
    Line::new(panel, at_most, "as exponent", move |book| {
        let panel = book.report?.panels.iter().find(|candidate| candidate.name == panel)?;
        Some(panel.growth.as_ref()?.log_log_slope).filter(|slope| slope.is_finite())
    })
}

fn stalled(
    what: String,
    name: &'static str,
    at_most: f64,
    unit: &'static str,
    figure: fn(&StallResult) -> Option<Spread>,
) -> Line {
    Line::new(what, at_most, unit, move |book| {
        let stall = book.report?.stall.iter().find(|stall| stall.name == name)?;
        Some(figure(stall)?.median)
    })
}

/// The paths with a limit of their own.
fn instructions() -> Vec<Line> {
    let line = |(path, at_most): (&'static str, f64)| {
        let what = format!("instructions of {path}");
        let mut line = Line::new(what, at_most, "an event", move |book| book.instructions(path));
        line.version1 = section("version1").find(|(of, _)| *of == path).map(|(_, figure)| figure);
        line
    };
    section("limits").map(line).collect()
}

/// The instructions that callbacks add to a streamed answer, in per cent.
fn callbacks_of_chat(path: &'static str, at_most: f64) -> Line {
    let what = format!("instructions of {path}, beyond ChatOpenAi without callbacks");
    Line::new(what, at_most, "%", move |book| {
        let (with, without) = (book.instructions(path)?, book.instructions("chat-bare")?);
        Some((with / without - 1.0) * 100.0)
    })
}

/// The paths of a section of `instructions.toml`, with their figures.
fn section(name: &str) -> impl Iterator<Item = (&'static str, f64)> {
    let header = format!("[{name}]");
    let lines = INSTRUCTIONS.lines().skip_while(move |line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).filter_map(|line| {
        let (path, figure) = line.split_once('=')?;
        Some((path.trim(), figure.trim().parse().ok()?))
    })
}

/// What was measured.
#[derive(Clone, Copy)]
struct Book<'a> {
    report: Option<&'a Report>,
    counts: &'a Counts,
}

impl<'a> Book<'a> {
    fn row(self, panel: &str, row: &str) -> Option<&'a RowResult> {
        let panel = self.report?.panels.iter().find(|candidate| candidate.name == panel)?;
        panel.rows.iter().find(|candidate| candidate.name == row)
    }

    /// The slices of both rows.
    fn pair(self, panel: &str, row: &str, reference: &str) -> Option<(&'a [f64], &'a [f64])> {
        let slices = |row| {
            let row = self.row(panel, row)?;
            Some(&*row.slices).filter(|slices| !slices.is_empty())
        };
        slices(row).zip(slices(reference))
    }

    fn ratio(self, panel: &str, row: &str, reference: &str) -> Option<f64> {
        let (row, reference) = self.pair(panel, row, reference)?;
        Some(Spread::of(&quotients(row, reference)).median)
    }

    fn allocations(self, panel: &str, row: &str) -> Option<f64> {
        let mut rows = self.counts.rows.iter();
        let count = rows.find(|count| count.panel == panel && count.row == row)?;
        Some(count.allocations)
    }

    fn held(self, name: &str) -> Option<f64> {
        let held = self.counts.held.iter().find(|held| held.name == name)?;
        Some(held.bytes_each)
    }

    fn instructions(self, path: &str) -> Option<f64> {
        let count = self.report?.instructions.iter().find(|count| count.path == path)?;
        Some(count.instructions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Machine, PathCount, PeerRow};

    fn report() -> Report {
        Report {
            taken_at: 0,
            machine: Machine { processor: String::new(), processors: 1, system: String::new() },
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
        let ns = Spread { median, low: median, high: median };
        PeerRow {
            name: name.to_owned(),
            peer: peer.to_owned(),
            handlers: 4,
            ns,
            allocations: None,
            bytes: None,
        }
    }

    fn chat(bare: f64, with_callbacks: f64) -> Report {
        let count = |path: &str, instructions| PathCount { path: path.to_owned(), instructions };
        Report {
            instructions: vec![count("chat-bare", bare), count("chat-4", with_callbacks)],
            ..report()
        }
    }

    fn missed(report: &Report) -> Vec<String> {
        let verdicts = verdicts(report, &Counts::default(), None);
        verdicts.iter().filter(|line| line.is_missed()).map(|line| line.what.clone()).collect()
    }

    #[test]
    fn a_peer_is_compared_by_the_work_with_the_highest_ratio() {
        let mut report = report();
        report.peers = vec![peer("a token", "rig", 100.0), peer("a token", "rappel", 50.0)];
        report.peers.extend([peer("a history", "rig", 100.0), peer("a history", "rappel", 94.0)]);
        assert_eq!(missed(&report), Vec::<String>::new());
        report.peers[3].ns.median = 96.0;
        assert_eq!(missed(&report), ["the same work for handlers (4), by that of rig"]);
    }

    #[test]
    fn callbacks_may_take_four_per_cent_of_an_answer() {
        assert_eq!(missed(&chat(1_000.0, 1_039.0)).len(), 0);
        assert_eq!(missed(&chat(1_000.0, 1_041.0)).len(), 1);
    }

    #[test]
    fn version_1_is_recorded_unless_it_was_measured_in_the_same_run() {
        let figure = |version1: Option<&Report>| {
            let verdicts = verdicts(&chat(1_000.0, 1_050.0), &Counts::default(), version1);
            let line = verdicts.into_iter().find(|line| line.what.contains("beyond ChatOpenAi"));
            line.map(|line| (line.version1, line.version1_is_measured, line.gain()))
        };
        assert_eq!(figure(None).map(|figure| (figure.0, figure.1)), Some((Some(10.8), false)));
        let measured = figure(Some(&chat(1_000.0, 1_100.0))).expect("the line");
        assert!(measured.1);
        assert!((measured.2.expect("both are measured") - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_file_of_instructions_has_limits_and_the_counts_of_version_1() {
        let limits: Vec<_> = section("limits").collect();
        assert!(limits.contains(&("no-handler", 28.0)) && limits.contains(&("async-1", 530.0)));
        assert!(section("version1").any(|line| line == ("async-1", 966.1)));
        assert!(section("nothing").next().is_none());
    }
}
