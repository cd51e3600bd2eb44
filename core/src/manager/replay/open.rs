//! The open runs of a replay, and who is under whom.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use super::order::deepest_first;
use crate::model::run_info::{RunId, RunInfo};
use crate::run::RunHandle;

/// An open run of a replay.
pub(super) struct OpenReplay {
    pub(super) handle: RunHandle,
    pub(super) root: RunId,
    /// The number that the next event has at least.
    pub(super) next: u64,
    /// The latest time of its events.
    pub(super) time: Option<Duration>,
    /// Whether the start was made up.
    pub(super) made_up: bool,
    /// How many runs were opened before.
    pub(super) position: u64,
}

impl OpenReplay {
    pub(super) fn info(&self) -> &RunInfo {
        &self.handle.run().node.info
    }
}

/// The open runs of a replay. No run is under itself.
#[derive(Default)]
pub(super) struct OpenRuns {
    pub(super) runs: BTreeMap<RunId, OpenReplay>,
    /// How many open runs have a run as their parent, by that run, which may not be open.
    children: BTreeMap<RunId, usize>,
}

impl OpenRuns {
    /// The open runs with that root.
    pub(super) fn of_root(&self, root: RunId) -> BTreeSet<RunId> {
        self.runs.iter().filter(|(_, open)| open.root == root).map(|(id, _)| *id).collect()
    }

    pub(super) fn insert(&mut self, id: RunId, open: OpenReplay) {
        if let Some(parent) = open.info().parent_id() {
            *self.children.entry(parent).or_default() += 1;
        }
        self.runs.insert(id, open);
    }

    pub(super) fn remove(&mut self, id: RunId) -> Option<OpenReplay> {
        let open = self.runs.remove(&id)?;
        let parent = open.info().parent_id();
        if let Some((parent, count)) = parent.and_then(|id| Some((id, self.children.get_mut(&id)?)))
        {
            *count -= 1;
            if *count == 0 {
                self.children.remove(&parent);
            }
        }
        Some(open)
    }

    /// Whether `run` is `above`, or an open run under it.
    pub(super) fn is_under(&self, run: RunId, above: RunId) -> bool {
        if run == above {
            return true;
        }
        // So that a deep trace costs no walk: a run that is open was checked at its start.
        if self.runs.contains_key(&above) || !self.children.contains_key(&above) {
            return false;
        }
        let mut next = Some(run);
        while let Some(run) = next.filter(|run| *run != above) {
            next = self.runs.get(&run).and_then(|open| open.info().parent_id());
        }
        next.is_some()
    }

    /// The runs among `ids` that are open, each before its parent.
    pub(super) fn deepest_first(&self, ids: &BTreeSet<RunId>) -> Vec<RunId> {
        let open = ids.iter().filter_map(|id| self.runs.get(id).map(|open| (*id, open)));
        deepest_first(open.map(|(id, open)| (id, open.info().parent_id(), open.position)))
    }
}

/// The runs end as cancelled, deepest first.
impl Drop for OpenRuns {
    fn drop(&mut self) {
        // A run waits for those under it, so it is attached to a parent that comes later only.
        let mut earlier = BTreeSet::new();
        for id in self.deepest_first(&self.runs.keys().copied().collect()) {
            earlier.insert(id);
            let Some(open) = self.runs.get(&id) else { continue };
            let parent = open.info().parent_id().filter(|parent| !earlier.contains(parent));
            if let Some(parent) = parent.and_then(|parent| self.runs.get(&parent)) {
                open.handle.run().attach_late(parent.handle.run());
            }
        }
        // First the runs without an open parent, so that they close those under them.
        let (tops, rest): (Vec<_>, Vec<_>) = core::mem::take(&mut self.runs)
            .into_values()
            .partition(|open| open.handle.run().node.is_top());
        drop(tops);
        drop(rest);
    }
}
