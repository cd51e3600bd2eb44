//! The open traces of a handler, and what it keeps for each.

use std::collections::HashMap;

use rappel_core::{RunId, RunInfo};

/// What a handler keeps for each open trace.
///
/// A run belongs to the trace of its parent if the parent is open. Otherwise it begins a trace. A
/// trace ends when all of its runs have ended. So its size is bounded by the runs that are open.
#[derive(Debug)]
pub(crate) struct Traces<T> {
    /// The trace of each open run.
    runs: HashMap<RunId, u64>,
    traces: HashMap<u64, Trace<T>>,
    next: u64,
}

#[derive(Debug)]
struct Trace<T> {
    open_runs: usize,
    state: T,
}

/// A run has ended.
pub(crate) enum Ended<'a, T> {
    /// The trace has other open runs.
    Run(&'a mut T),
    /// It was the last run of its trace.
    Trace(T),
}

impl<T> Default for Traces<T> {
    fn default() -> Self {
        Self { runs: HashMap::new(), traces: HashMap::new(), next: 0 }
    }
}

impl<T> Traces<T> {
    /// A run has started. `make` makes the state of a new trace.
    pub(crate) fn start(&mut self, run: &RunInfo, make: impl FnOnce() -> T) -> &mut T {
        let known = self.runs.get(&run.id());
        let again = known.is_some();
        let parent = run.parent_id().and_then(|parent| self.runs.get(&parent));
        let key = match known.or(parent) {
            Some(key) => *key,
            None => {
                self.next += 1;
                self.next
            }
        };
        self.runs.insert(run.id(), key);
        let trace = self.traces.entry(key).or_insert_with(|| Trace { open_runs: 0, state: make() });
        trace.open_runs += usize::from(!again);
        &mut trace.state
    }

    /// Returns the trace of an open run, or of a custom event under it.
    pub(crate) fn get_mut(&mut self, run: RunId) -> Option<&mut T> {
        let key = self.runs.get(&run)?;
        self.traces.get_mut(key).map(|trace| &mut trace.state)
    }

    /// Returns the trace of an open run.
    pub(crate) fn get(&self, run: RunId) -> Option<&T> {
        let key = self.runs.get(&run)?;
        self.traces.get(key).map(|trace| &trace.state)
    }

    /// A run has ended. `None` if its start was not seen.
    pub(crate) fn end(&mut self, run: RunId) -> Option<Ended<'_, T>> {
        let key = self.runs.remove(&run)?;
        let trace = self.traces.get_mut(&key)?;
        trace.open_runs = trace.open_runs.saturating_sub(1);
        if trace.open_runs > 0 {
            return self.traces.get_mut(&key).map(|trace| Ended::Run(&mut trace.state));
        }
        self.traces.remove(&key).map(|trace| Ended::Trace(trace.state))
    }

    /// The number of open traces.
    pub(crate) fn len(&self) -> usize {
        self.traces.len()
    }

    /// The states of all open traces.
    pub(crate) fn states(&self) -> impl Iterator<Item = &T> {
        self.traces.values().map(|trace| &trace.state)
    }
}
