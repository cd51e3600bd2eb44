//! Reports as text.

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
            let [p50, p99, p999] = [stall.p50, stall.p99, stall.p999].map(|ms| format!("{ms:.2}"));
            let row = stall.row_without_turn.map_or(String::new(), |row| number(row.median));
            vec![stall.name.clone(), p50, p99, p999, times_of(&stall.ratio), row]
        });
        let header = [
            "beside it",
            "p50",
            "p99",
            "p99.9",
            "p99, times that without",
            "tokens in a row without a background call",
        ];
        push(&mut text, &header, rows);
    }
    if !report.held.is_empty() {
        title(
            &mut text,
            "idle",
            "Bytes that one of them keeps allocated: the slope of a line through three numbers of them.",
        );
        let rows = report
            .held
            .iter()
            .map(|held| vec![held.name.clone(), format!("{:.0}", held.bytes_each)]);
        push(&mut text, &["what", "bytes"], rows);
    }
    if !report.instructions.is_empty() {
        title(&mut text, "instructions", "Per event, run or handler, counted by callgrind.");
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

/// The budget's table: the figure of each line, its limit, and the figure of version 1.
pub fn budget_table(text: &mut String, budget: &[Verdict]) {
    title(text, "budget", "Version 1's figures are recorded ones, except those with an asterisk.");
    let rows = budget.iter().map(|line| {
        let asterisk = if line.version1_is_measured { " *" } else { "" };
        let version1 = line.version1.map(|figure| format!("{}{asterisk}", number(figure)));
        vec![
            line.what.clone(),
            line.measured.map_or("-".to_owned(), number),
            number(line.at_most),
            version1.unwrap_or_default(),
            line.unit.clone(),
            verdict(line),
        ]
    });
    push(text, &["what", "is", "at most", "version 1", "", ""], rows);
}

/// "holds", "MISSED, 40 % below version 1" or "not measured".
fn verdict(line: &Verdict) -> String {
    if line.measured.is_none() {
        return "not measured".to_owned();
    }
    if !line.is_missed() {
        return "holds".to_owned();
    }
    let beside = line.gain().map(|gain| match gain * 100.0 {
        gain if gain >= 0.0 => format!(", {gain:.0} % below version 1"),
        gain => format!(", {:.0} % above version 1", -gain),
    });
    format!("MISSED{}", beside.unwrap_or_default())
}

/// A figure with four significant digits or so.
fn number(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
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
            "\nOver {}: the exponent is {:.3} (log-log, from {} on). One more takes {:.4} ns (linear).",
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

/// Formats nanoseconds in a unit that leaves few digits.
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

/// Returns `true` if no line of the budget is missed. Prints the missed lines, and the number of
/// lines that were not measured, to standard error.
#[must_use]
pub fn is_kept(budget: &[Verdict]) -> bool {
    let missed: Vec<_> = budget.iter().filter(|line| line.is_missed()).collect();
    for line in &missed {
        let (measured, at_most) = (line.measured.unwrap_or(f64::NAN), line.at_most);
        eprintln!("MISSED: {}: {measured:.3} {}, limit {at_most:.3}", line.what, line.unit);
    }
    let unmeasured = budget.iter().filter(|line| line.measured.is_none()).count();
    if unmeasured > 0 {
        eprintln!("not measured: {unmeasured} of {} lines of the budget", budget.len());
    }
    missed.is_empty()
}
