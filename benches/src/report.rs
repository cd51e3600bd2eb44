//! What a report holds: all that was measured, for tables, plots, the check, and whoever reads the JSON.

use serde::{Deserialize, Serialize};

/// A number that was measured many times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one.
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

/// The number that a share `q` of all lies below, between the two nearest ones in proportion. They are sorted.
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = q * last as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// A row, measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowResult {
    /// What it does.
    pub name: String,
    /// Whether it is rappel that does it.
    pub ours: bool,
    /// Where it stands on the panel's axis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    /// Nanoseconds an event.
    pub ns: Spread,
    /// The row that it is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its time by the reference's, slice by slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Spread>,
    /// Allocations an event, on all threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocations: Option<f64>,
    /// Bytes that were allocated, an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<f64>,
    /// All slices, in the order in which they were measured, nanoseconds an event: those of one panel's rows were measured in turn.
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
    /// The exponent: 0 is flat, 1 linear; fitted by least squares to the logarithms of both, from `from` on.
    pub log_log_slope: f64,
    /// What one more costs, in nanoseconds: fitted by least squares to all points.
    pub linear_slope: f64,
    /// The first point of the fit to the logarithms.
    pub from: f64,
}

/// How late a 1 ms ticker is, on the same thread as what is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StallResult {
    /// What ran beside the ticker.
    pub name: String,
    /// Milliseconds from tick to tick, over all slices.
    pub p50: f64,
    /// The same.
    pub p99: f64,
    /// The same.
    pub p999: f64,
    /// The p99 of each slice, in milliseconds.
    pub p99_of_slices: Spread,
    /// That by the p99 without a handler, slice by slice.
    pub ratio: Spread,
}

/// What stays allocated for things that are idle.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeldResult {
    /// What it is.
    pub name: String,
    /// How many there were, and the bytes of all.
    pub points: Vec<(u64, f64)>,
    /// The bytes of one more: the slope of the line through the points, by least squares.
    pub bytes_each: f64,
}

/// Allocations an event of one row, and the bytes of things that are idle: what the counting binary finds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Of each row.
    pub rows: Vec<RowCount>,
    /// Of each idle thing.
    pub held: Vec<HeldResult>,
}

/// Allocations of one row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RowCount {
    /// Its panel.
    pub panel: String,
    /// Its name.
    pub row: String,
    /// Allocations an event, on all threads.
    pub allocations: f64,
    /// Bytes that were allocated, an event.
    pub bytes: f64,
}

/// A row of another library's, as `benches/peers` and `langchain.py` print it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerRow {
    /// The work.
    pub name: String,
    /// Whose.
    pub peer: String,
    /// To how many handlers.
    pub handlers: u64,
    /// Nanoseconds an event.
    pub ns: Spread,
    /// Allocations an event.
    #[serde(default)]
    pub allocations: Option<f64>,
    /// Bytes an event.
    #[serde(default)]
    pub bytes: Option<f64>,
}

/// What `benches/peers` and `langchain.py` print.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Peers {
    /// All of them.
    pub rows: Vec<PeerRow>,
}

/// Instructions an event of one path, by callgrind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PathCount {
    /// The path.
    pub path: String,
    /// Instructions an event.
    pub instructions: f64,
}

/// Where it was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor, as the system calls it.
    pub processor: String,
    /// How many of them this process may use.
    pub processors: usize,
    /// The system and its architecture.
    pub system: String,
}

/// One line of the budget, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// What is held to it.
    pub what: String,
    /// How much it may be.
    pub at_most: f64,
    /// How much it is; nothing where it was not measured.
    pub measured: Option<f64>,
    /// Of what.
    pub unit: String,
}

impl Verdict {
    /// What is held to what: there may be two lines about one thing.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}, in {}", self.what, self.unit)
    }

    /// Whether it was measured, and is too much. What is not a number is no pass.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        self.measured.is_some_and(|measured| measured.is_nan() || measured > self.at_most)
    }
}

/// All of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// When, in seconds since 1970.
    pub taken_at: u64,
    /// Where.
    pub machine: Machine,
    /// Whether it was measured in a hurry.
    pub quick: bool,
    /// What was measured in nanoseconds an event.
    pub panels: Vec<PanelResult>,
    /// How an event loop fares.
    pub stall: Vec<StallResult>,
    /// What idle things keep.
    pub held: Vec<HeldResult>,
    /// Instructions of the main paths.
    pub instructions: Vec<PathCount>,
    /// Other libraries.
    pub peers: Vec<PeerRow>,
    /// The budget.
    pub budget: Vec<Verdict>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_numbers_in_proportion() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.low, spread.median, spread.high), (1.75, 2.5, 3.25));
        assert!(Spread::of(&[]).median.is_nan());
    }

    #[test]
    fn a_line_without_a_measure_is_not_missed() {
        let line = Verdict {
            what: "nothing".to_owned(),
            at_most: 1.0,
            measured: None,
            unit: "ns".to_owned(),
        };
        assert!(!line.is_missed());
    }
}
