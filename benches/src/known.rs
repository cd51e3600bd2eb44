//! The lines of the budget that are known to be missed, with their figures. The gate still fails
//! for all other lines, and for a known line that gets worse.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::outside::home;
use crate::report::Verdict;

/// A known line passes up to this factor of its recorded figure: allocators and thread schedules
/// differ.
const MARGIN: f64 = 1.05;

/// The recorded figures, by line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known(BTreeMap<String, f64>);

impl Known {
    /// Reads the file. Without a file, no line is known to be missed.
    ///
    /// # Errors
    /// If the file cannot be read, or is not valid.
    pub fn read() -> io::Result<Self> {
        match fs::read_to_string(file()) {
            Ok(text) => Ok(Self(serde_json::from_str(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// The lines of `budget` that are missed.
    #[must_use]
    pub fn of(budget: &[Verdict]) -> Self {
        let missed = budget.iter().filter(|line| line.is_missed());
        Self(missed.filter_map(|line| Some((line.name(), line.measured?))).collect())
    }

    /// Writes the file, or removes it if no line is missed.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self) -> io::Result<()> {
        if !self.0.is_empty() {
            return fs::write(file(), serde_json::to_string_pretty(&self.0)? + "\n");
        }
        match fs::remove_file(file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The budget with the limits of the known lines raised to their recorded figures.
    #[must_use]
    pub fn widen(&self, budget: &[Verdict]) -> Vec<Verdict> {
        let widened = |line: &Verdict| Verdict {
            at_most: self
                .0
                .get(&line.name())
                .map_or(line.at_most, |known| line.at_most.max(known * MARGIN)),
            ..line.clone()
        };
        budget.iter().map(widened).collect()
    }
}

fn file() -> PathBuf {
    home().join("allocations.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: &str, at_most: f64, measured: f64) -> Verdict {
        Verdict {
            what: what.to_owned(),
            at_most,
            measured: Some(measured),
            unit: "bytes".to_owned(),
            version1: None,
            version1_is_measured: false,
        }
    }

    #[test]
    fn a_known_line_passes_until_it_gets_worse() {
        let known = Known::of(&[line("holds", 1.0, 0.5), line("missed", 1.0, 4.0)]);
        let missed =
            |lines: &[Verdict]| known.widen(lines).iter().filter(|line| line.is_missed()).count();
        assert_eq!(missed(&[line("holds", 1.0, 1.0), line("missed", 1.0, 4.1)]), 0);
        assert_eq!(missed(&[line("holds", 1.0, 1.1), line("missed", 1.0, 4.3)]), 2);
    }

    #[test]
    fn a_figure_that_is_not_a_number_is_missed() {
        assert!(line("nothing", 1.0, f64::NAN).is_missed());
    }
}
