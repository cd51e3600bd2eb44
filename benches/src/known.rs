//! The lines of the budget that are known to be missed, with how much they are: so that the gate stays shut for all that is not, and for what gets worse.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use crate::outside::home;
use crate::report::Verdict;

/// How much more than what is recorded passes, of what another allocator or another thread's turn makes of it.
const MARGIN: f64 = 1.05;

/// What is recorded, by the line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known(BTreeMap<String, f64>);

impl Known {
    /// What the file says; nothing is known to be missed where there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is no record.
    pub fn read() -> io::Result<Self> {
        match fs::read_to_string(file()) {
            Ok(text) => Ok(Self(serde_json::from_str(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// The lines that are missed now.
    #[must_use]
    pub fn of(budget: &[Verdict]) -> Self {
        let missed = budget.iter().filter(|line| line.is_missed());
        Self(missed.filter_map(|line| Some((line.name(), line.measured?))).collect())
    }

    /// Writes the file, or removes it where nothing is missed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> io::Result<()> {
        if !self.0.is_empty() {
            return fs::write(file(), serde_json::to_string_pretty(&self.0)? + "\n");
        }
        match fs::remove_file(file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The budget, widened by what is known to be missed.
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
        }
    }

    #[test]
    fn what_is_known_passes_until_it_gets_worse() {
        let known = Known::of(&[line("holds", 1.0, 0.5), line("missed", 1.0, 4.0)]);
        let missed = |lines: &[Verdict]| known.widen(lines).iter().filter(|line| line.is_missed()).count();
        assert_eq!(missed(&[line("holds", 1.0, 1.0), line("missed", 1.0, 4.1)]), 0);
        assert_eq!(missed(&[line("holds", 1.0, 1.1), line("missed", 1.0, 4.3)]), 2);
    }

    #[test]
    fn what_is_not_a_number_is_missed() {
        assert!(line("nothing", 1.0, f64::NAN).is_missed());
    }
}
