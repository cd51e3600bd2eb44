//! What is measured: panels of rows, one file per topic.

mod chat;
mod growth;
pub mod held;
mod references;
mod runtimes;
pub mod stall;
mod tokens;
mod work;

use crate::host::Host;
use crate::measure::Row;

pub use chat::{Chat, Model, serve};
pub use tokens::{emit, start};

/// Rows that are measured in turn, and compared.
#[allow(missing_debug_implementations, reason = "rows are closures")]
pub struct Panel {
    /// What it compares.
    pub name: String,
    /// How to read it.
    pub about: &'static str,
    /// The axis of its rows, if they have one.
    pub axis: Option<Axis>,
    /// Whether the allocations of all threads are those of the row.
    pub counted: bool,
    /// The rows. A row comes after its reference.
    pub rows: Vec<Row>,
}

/// The axis of a panel.
#[derive(Debug, Clone, Copy)]
pub struct Axis {
    /// What it counts.
    pub label: &'static str,
    /// The first point of the fit to the logarithms.
    pub from: f64,
}

impl Panel {
    fn new(name: impl Into<String>, about: &'static str, rows: Vec<Row>) -> Self {
        Self { name: name.into(), about, axis: None, counted: true, rows }
    }

    fn along(mut self, label: &'static str, from: f64) -> Self {
        self.axis = Some(Axis { label, from });
        self
    }

    /// Keeps the rows with `part` in their name, and their references. Keeps all if the panel's
    /// name contains `part`.
    pub fn keep(&mut self, part: &str) {
        if self.name.contains(part) {
            return;
        }
        let is_named = |row: &Row| row.name.contains(part);
        let wanted: Vec<String> = self
            .rows
            .iter()
            .filter(|row| is_named(row))
            .filter_map(|row| row.reference.clone())
            .collect();
        self.rows.retain(|row| is_named(row) || wanted.contains(&row.name));
    }
}

/// All panels, or those that `only` selects. A row creates what it needs at its first call.
#[must_use]
pub fn panels(only: Option<&str>) -> Vec<Panel> {
    let hosts = Host::all();
    let mut panels = tokens::panels();
    panels.extend(runtimes::panels(&hosts));
    panels.extend(growth::panels());
    panels.push(chat::panel());
    if let Some(only) = only {
        panels.iter_mut().for_each(|panel| panel.keep(only));
        panels.retain(|panel| !panel.rows.is_empty());
    }
    panels
}
