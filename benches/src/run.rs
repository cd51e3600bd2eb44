//! Measures everything, and makes a report of it.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::budget;
use crate::fit::growth;
use crate::measure::{Pace, results, slices};
use crate::outside::{self, OutsideError};
use crate::report::{Counts, Machine, PanelResult, Report, StallResult};
use crate::rows::{Panel, panels, stall};

/// What to measure.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Fewer and shorter slices, and no instructions.
    pub quick: bool,
    /// Only what has this in its name.
    pub only: Option<String>,
    /// Other libraries too.
    pub peers: bool,
    /// Version 1 too.
    pub version1: bool,
    /// LangChain in Python too.
    pub langchain: bool,
}

/// Measures what is wanted, and shows its progress on standard error.
///
/// # Errors
/// If a process that measures a part fails.
pub fn run(wanted: &Wanted) -> Result<Report, OutsideError> {
    let only = wanted.only.as_deref();
    let version1 = if wanted.version1 {
        eprintln!("version 1");
        Some(outside::version1(wanted.quick, wanted.peers)?)
    } else {
        None
    };
    eprintln!("allocations, in a process that counts them");
    let counts = outside::allocations(only)?;
    let mut report = Report {
        taken_at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs(),
        machine: machine(),
        quick: wanted.quick,
        panels: timed(wanted, &counts),
        stall: stalled(wanted),
        held: counts.held.clone(),
        instructions: Vec::new(),
        peers: Vec::new(),
        budget: Vec::new(),
    };
    if !wanted.quick && only.is_none_or(|only| "instructions".contains(only)) {
        eprintln!("instructions, by callgrind");
        match outside::instructions()? {
            Some(counts) => report.instructions = counts,
            None => eprintln!("valgrind is not installed: INSTRUCTIONS ARE NOT COUNTED"),
        }
    }
    if wanted.peers {
        eprintln!("peers");
        report.peers = outside::peers(wanted.quick)?;
    }
    if wanted.langchain {
        eprintln!("LangChain, in Python");
        match outside::langchain(wanted.quick)? {
            Some(rows) => report.peers.extend(rows),
            None => eprintln!("python3 has no langchain-core: LANGCHAIN IS NOT MEASURED"),
        }
    }
    report.budget = budget::verdicts(&report, &counts, version1.as_ref());
    Ok(report)
}

/// The times of all rows, pass by pass, with their allocations.
fn timed(wanted: &Wanted, counts: &Counts) -> Vec<PanelResult> {
    let pace = if wanted.quick { Pace::QUICK } else { Pace::FULL };
    let mut slices_of_panels: Vec<Vec<Vec<f64>>> = Vec::new();
    let mut timed = Vec::new();
    for pass in 1..=pace.passes {
        let panels = panels(wanted.only.as_deref());
        slices_of_panels.resize_with(panels.len(), Vec::new);
        let one_by_one =
            panels.into_iter().zip(&mut slices_of_panels).map(|(mut panel, so_far)| {
                eprintln!("pass {pass} of {}: {}", pace.passes, panel.name);
                so_far.resize_with(panel.rows.len(), Vec::new);
                for (so_far, new) in so_far.iter_mut().zip(slices(&mut panel.rows, pace)) {
                    so_far.extend(new);
                }
                panel_result(&panel, so_far, counts)
            });
        timed = one_by_one.collect();
    }
    timed
}

fn panel_result(panel: &Panel, slices: &[Vec<f64>], counts: &Counts) -> PanelResult {
    let mut rows = results(&panel.rows, slices);
    for row in &mut rows {
        let is_of_row =
            |count: &&crate::report::RowCount| count.panel == panel.name && count.row == row.name;
        if let Some(count) = counts.rows.iter().find(is_of_row) {
            (row.allocations, row.bytes) = (Some(count.allocations), Some(count.bytes));
        }
    }
    PanelResult {
        name: panel.name.clone(),
        about: panel.about.to_owned(),
        growth: panel.axis.map(|axis| growth(axis, &rows)),
        rows,
    }
}

fn stalled(wanted: &Wanted) -> Vec<StallResult> {
    eprintln!("loop stall");
    let slice = if wanted.quick { 100 } else { 500 };
    stall::measure(wanted.only.as_deref(), 15, Duration::from_millis(slice))
}

fn machine() -> Machine {
    // Linux has this file.
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Machine {
        processor: named.map_or("unknown", |(_, name)| name.trim()).to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}
