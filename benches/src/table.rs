//! A report as text.

use std::fmt::Write;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::report::{PanelResult, PeerRow, Report, RowResult, Spread, Verdict};

/// All tables of a report.
#[must_use]
pub fn all(report: &Report) -> String {
    let mut text = String::new();
    for panel in &report.panels {
        panel_table(&mut text, panel);
    }
    if !report.stall.is_empty() {
        title(
            &mut text,
            "loop stall",
            "A 1 ms ticker on tokio current-thread: milliseconds from tick to tick.",
        );
        let rows = report.stall.iter().map(|stall| {
            let times = [stall.p50, stall.p99, stall.p999].map(|ms| format!("{ms:.2}"));
            let [p50, p99, p999] = times;
            vec![stall.name.clone(), p50, p99, p999, times_of(&stall.ratio)]
        });
        push(&mut text, &["beside it", "p50", "p99", "p99.9", "p99, times that without"], rows);
    }
    if !report.held.is_empty() {
        title(
            &mut text,
            "idle",
            "What one more keeps allocated: the slope of a line through 256, 1,024 and 4,096 of them.",
        );
        let rows = report
            .held
            .iter()
            .map(|held| vec![held.name.clone(), format!("{:.0}", held.bytes_each)]);
        push(&mut text, &["what", "bytes"], rows);
    }
    if !report.instructions.is_empty() {
        title(&mut text, "instructions", "By callgrind, an event.");
        let rows = report
            .instructions
            .iter()
            .map(|count| vec![count.path.clone(), format!("{:.0}", count.instructions)]);
        push(&mut text, &["path", "instructions"], rows);
    }
    if !report.peers.is_empty() {
        peers_table(&mut text, &report.peers);
    }
    budget_table(&mut text, &report.budget);
    text
}

/// The table of other libraries.
pub fn peers_table(text: &mut String, peers: &[PeerRow]) {
    title(text, "peers", "The same work by other libraries.");
    let header = ["work", "whose", "handlers", "an event", "quartiles", "allocations", "bytes"];
    push(text, &header, peers.iter().map(peer_row));
}

/// The budget's table.
pub fn budget_table(text: &mut String, budget: &[Verdict]) {
    title(text, "budget", "");
    let rows = budget.iter().map(|line| {
        let measured = line.measured.map_or("-".to_owned(), |measured| format!("{measured:.3}"));
        let verdict = match line.measured {
            None => "not measured",
            Some(_) if line.is_missed() => "MISSED",
            Some(_) => "holds",
        };
        vec![
            line.what.clone(),
            format!("{:.3}", line.at_most),
            measured,
            line.unit.clone(),
            verdict.to_owned(),
        ]
    });
    push(text, &["what", "at most", "is", "", ""], rows);
}

fn panel_table(text: &mut String, panel: &PanelResult) {
    title(text, &panel.name, &panel.about);
    let header = [
        "",
        "an event",
        "quartiles",
        "events/s",
        "allocations",
        "bytes",
        "times its reference",
        "reference",
    ];
    push(text, &header, panel.rows.iter().map(row));
    if let Some(growth) = &panel.growth {
        let _ = writeln!(
            text,
            "\nOver {}: the exponent is {:.3} (log-log, from {} on); one more costs {:.4} ns (linear).",
            growth.axis, growth.log_log_slope, growth.from, growth.linear_slope
        );
    }
}

fn row(row: &RowResult) -> Vec<String> {
    vec![
        row.name.clone(),
        time(row.ns.median),
        format!("{} – {}", time(row.ns.low), time(row.ns.high)),
        rate(1e9 / row.ns.median),
        row.allocations.map_or(String::new(), |number| format!("{number:.4}")),
        row.bytes.map_or(String::new(), |number| format!("{number:.1}")),
        row.ratio.as_ref().map_or(String::new(), times_of),
        row.reference.clone().unwrap_or_default(),
    ]
}

fn peer_row(row: &PeerRow) -> Vec<String> {
    vec![
        row.name.clone(),
        row.peer.clone(),
        row.handlers.to_string(),
        time(row.ns.median),
        format!("{} – {}", time(row.ns.low), time(row.ns.high)),
        row.allocations.map_or(String::new(), |number| format!("{number:.4}")),
        row.bytes.map_or(String::new(), |number| format!("{number:.1}")),
    ]
}

fn times_of(ratio: &Spread) -> String {
    format!("{:.2} ({:.2} – {:.2})", ratio.median, ratio.low, ratio.high)
}

/// Nanoseconds, in a unit that leaves few digits.
#[must_use]
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e4 => format!("{:.1} µs", ns / 1e3),
        ns if ns >= 100.0 => format!("{ns:.0} ns"),
        ns => format!("{ns:.2} ns"),
    }
}

fn rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.1} M", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.0} k", rate / 1e3),
        rate => format!("{rate:.0}"),
    }
}

fn title(text: &mut String, name: &str, about: &str) {
    let _ = writeln!(text, "\n## {name}\n");
    if !about.is_empty() {
        let _ = writeln!(text, "{about}\n");
    }
}

fn push(text: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(header).add_rows(rows);
    for column in table.column_iter_mut().skip(1).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let _ = writeln!(text, "{table}");
}

/// Names each line of the budget that is missed, on standard error, and says whether there is none; and how many were not measured.
#[must_use]
pub fn is_kept(budget: &[Verdict]) -> bool {
    let missed: Vec<_> = budget.iter().filter(|line| line.is_missed()).collect();
    for line in &missed {
        let measured = line.measured.unwrap_or(f64::NAN);
        eprintln!("MISSED: {}: {measured:.3} {}, and may be {:.3}", line.what, line.unit, line.at_most);
    }
    let unmeasured = budget.iter().filter(|line| line.measured.is_none()).count();
    if unmeasured > 0 {
        eprintln!("not measured: {unmeasured} lines of the budget, of {}", budget.len());
    }
    missed.is_empty()
}
