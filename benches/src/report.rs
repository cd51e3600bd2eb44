//! The data of a report: for tables, plots, the check, and readers of the JSON.

use serde::{Deserialize, Serialize};

/// A number that was measured many times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Spread {
    /// The median and the quartiles of some numbers, or NaN of none.
    #[must_use]
    pub fn of(numbers: &[f64]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: quantile(&sorted, 0.5),
            low: quantile(&sorted, 0.25),
            high: quantile(&sorted, 0.75),
        }
    }
}

/// The `q` quantile of sorted numbers, interpolated linearly.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The measurement of a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowResult {
    /// What it does.
    pub name: String,
    /// Whether this is rappel, and not something that it is compared with.
    pub ours: bool,
    /// Its place on the panel's axis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    /// Nanoseconds per event.
    pub ns: Spread,
    /// The row that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its time divided by the reference's, slice by slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Spread>,
    /// Allocations per event, on all threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<f64>,
    /// Allocated bytes per event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<f64>,
    /// All slices in the order of measurement, in nanoseconds per event. The slices of one panel's
    /// rows were measured in turn.
    pub slices: Vec<f64>,
}

/// Rows that belong together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PanelResult {
    /// What it compares.
    pub name: String,
    /// How to read it.
    pub about: String,
    /// Its rows.
    pub rows: Vec<RowResult>,
    /// How the cost grows along the axis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<Growth>,
}

/// A line through the rows of a panel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Growth {
    /// What the axis counts.
    pub axis: String,
    /// The exponent of the growth: 0 is flat, 1 is linear. Fitted by least squares to the
    /// logarithms of both coordinates, from `from` on.
    pub log_log_slope: f64,
    /// Nanoseconds for one more on the axis. Fitted by least squares to all points.
    pub linear_slope: f64,
    /// The first point of the fit to the logarithms.
    pub from: f64,
}

/// How late a 1 ms ticker is, on the thread of what is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StallResult {
    /// What ran beside the ticker.
    pub name: String,
    /// Milliseconds from tick to tick, over all slices: the median.
    pub p50: f64,
    /// The same: the 99th percentile.
    pub p99: f64,
    /// The same: the 99.9th percentile.
    pub p999: f64,
    /// The p99 of each slice, in milliseconds.
    pub p99_of_slices: Spread,
    /// The p99 divided by the p99 without a handler, slice by slice.
    pub ratio: Spread,
    /// The most tokens in a row without a call of the background handler, per slice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_without_turn: Option<Spread>,
}

/// The bytes that stay allocated for idle things.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldResult {
    /// What is idle.
    pub name: String,
    /// Numbers of things, each with the bytes of all.
    pub points: Vec<(u64, f64)>,
    /// The bytes of one thing: the slope of the line through the points, by least squares.
    pub bytes_each: f64,
}

/// The output of the counting binary: allocations per event, and the bytes of idle things.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counts {
    /// The counts of each row.
    pub rows: Vec<RowCount>,
    /// The counts of each idle thing.
    pub held: Vec<HeldResult>,
}

/// The allocations of one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowCount {
    /// Its panel.
    pub panel: String,
    /// Its name.
    pub row: String,
    /// Allocations per event, on all threads.
    pub allocations: f64,
    /// Allocated bytes per event.
    pub bytes: f64,
}

/// A row of another library, as printed by `benches/peers` and `langchain.py`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerRow {
    /// The work.
    pub name: String,
    /// The library.
    pub peer: String,
    /// The number of handlers.
    pub handlers: u64,
    /// Nanoseconds per event.
    pub ns: Spread,
    /// Allocations per event.
    #[serde(default)]
    pub allocations: Option<f64>,
    /// Bytes per event.
    #[serde(default)]
    pub bytes: Option<f64>,
}

/// The output of `benches/peers` and `langchain.py`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Peers {
    /// All rows.
    pub rows: Vec<PeerRow>,
}

/// Instructions per event of one path, counted by callgrind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PathCount {
    /// The path.
    pub path: String,
    /// Instructions per event.
    pub instructions: f64,
}

/// The machine of a measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as the system calls it.
    pub processor: String,
    /// Number of processors that this process may use.
    pub processors: usize,
    /// The system and its architecture.
    pub system: String,
}

/// One line of the budget, with its figures.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// What is limited.
    pub what: String,
    /// The limit.
    pub at_most: f64,
    /// The measured figure. Absent if it was not measured.
    pub measured: Option<f64>,
    /// The unit of the figures.
    pub unit: String,
    /// The figure of version 1, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version1: Option<f64>,
    /// Whether version 1's figure was measured in the same run. If not, it is a recorded one.
    #[serde(default)]
    pub version1_is_measured: bool,
}

impl Verdict {
    /// What is limited, and in which unit: there may be two lines about one thing.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}, in {}", self.what, self.unit)
    }

    /// How much better than version 1 it is: 0.3 is 30 % less. Absent if one of them was not
    /// measured.
    #[must_use]
    pub fn gain(&self) -> Option<f64> {
        let (measured, version1) = self.measured.zip(self.version1)?;
        (version1 > 0.0).then(|| 1.0 - measured / version1)
    }

    /// Whether the figure was measured and is above the limit. NaN counts as missed.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        self.measured.is_some_and(|measured| measured.is_nan() || measured > self.at_most)
    }
}

/// A whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// The time, in seconds since 1970.
    pub taken_at: u64,
    /// The machine.
    pub machine: Machine,
    /// Whether it was measured with `--quick`.
    pub quick: bool,
    /// The rows that are timed.
    pub panels: Vec<PanelResult>,
    /// How late a ticker is.
    pub stall: Vec<StallResult>,
    /// The bytes of idle things.
    pub held: Vec<HeldResult>,
    /// The instructions of the main paths.
    pub instructions: Vec<PathCount>,
    /// Other libraries.
    pub peers: Vec<PeerRow>,
    /// The budget.
    pub budget: Vec<Verdict>,
}

impl Report {
    /// The counts that this report contains: those of the counting binary.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let rows = self.panels.iter().flat_map(|panel| {
            panel.rows.iter().filter_map(|row| {
                let (allocations, bytes) = row.allocations.zip(row.bytes)?;
                Some(RowCount {
                    panel: panel.name.clone(),
                    row: row.name.clone(),
                    allocations,
                    bytes,
                })
            })
        });
        Counts { rows: rows.collect(), held: self.held.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_are_interpolated() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.low, spread.median, spread.high), (1.75, 2.5, 3.25));
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn a_line_that_was_not_measured_is_not_missed() {
        let line = Verdict {
            what: "nothing".to_owned(),
            at_most: 1.0,
            measured: None,
            unit: "ns".to_owned(),
            version1: None,
            version1_is_measured: false,
        };
        assert!(!line.is_missed());
    }
}
