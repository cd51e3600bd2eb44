//! What a replay remembers, so that it skips what comes again.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::model::run_info::RunId;

/// The runs that have ended, by their roots, and the custom events that belong to no run.
pub(super) struct Known {
    roots: BTreeMap<RunId, Root>,
    /// The runs that have ended, with their roots, oldest first.
    ended: VecDeque<(RunId, RunId)>,
    most: usize,
}

/// What is known of the runs with one root.
#[derive(Default)]
struct Root {
    open: usize,
    ended: BTreeSet<RunId>,
    /// The number after that of the last custom event that belongs to no run, by source.
    sources: Vec<(Arc<str>, u64)>,
}

/// How many runs are remembered, unless a program says otherwise.
const REMEMBERED: usize = 10_000;

impl Known {
    pub(super) fn new() -> Self {
        Self { roots: BTreeMap::new(), ended: VecDeque::new(), most: REMEMBERED }
    }

    pub(super) fn remember(&mut self, runs: usize) {
        self.most = runs;
        self.forget_oldest();
    }

    pub(super) fn open(&mut self, root: RunId) {
        self.roots.entry(root).or_default().open += 1;
    }

    pub(super) fn end(&mut self, root: RunId, run: RunId) {
        let known = self.roots.entry(root).or_default();
        known.open = known.open.saturating_sub(1);
        known.ended.insert(run);
        self.ended.push_back((root, run));
        self.forget_oldest();
    }

    pub(super) fn has_ended(&self, root: RunId, run: RunId) -> bool {
        self.roots.get(&root).is_some_and(|root| root.ended.contains(&run))
    }

    /// Whether a custom event that belongs to no run came before. Remembers it.
    pub(super) fn is_repeated(
        &mut self,
        root: RunId,
        run: RunId,
        source: &Arc<str>,
        number: u64,
    ) -> bool {
        if !self.roots.contains_key(&root) {
            // So that it is forgotten some time.
            self.ended.push_back((root, run));
        }
        let sources = &mut self.roots.entry(root).or_default().sources;
        let known = sources.iter_mut().find(|(known, _)| known == source);
        let repeated = known.as_ref().is_some_and(|(_, next)| number < *next);
        match known {
            Some((_, next)) => *next = (*next).max(number.saturating_add(1)),
            None => sources.push((source.clone(), number.saturating_add(1))),
        }
        self.forget_oldest();
        repeated
    }

    /// Forgets what has ended of the runs under `root`.
    pub(super) fn forget(&mut self, root: RunId) {
        self.ended.retain(|(known, _)| *known != root);
        if let Some(known) = self.roots.get_mut(&root) {
            known.ended.clear();
            known.sources.clear();
        }
        self.drop_unused(root);
    }

    /// Forgets the oldest of the ended runs, and roots without any run.
    fn forget_oldest(&mut self) {
        while self.ended.len() > self.most {
            let Some((root, run)) = self.ended.pop_front() else { break };
            if let Some(known) = self.roots.get_mut(&root) {
                known.ended.remove(&run);
            }
            self.drop_unused(root);
        }
    }

    fn drop_unused(&mut self, root: RunId) {
        if self.roots.get(&root).is_some_and(|root| root.open == 0 && root.ended.is_empty()) {
            self.roots.remove(&root);
        }
    }
}
