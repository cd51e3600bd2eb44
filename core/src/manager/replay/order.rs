//! In which order open runs are closed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::model::run_info::RunId;

/// Puts runs in an order in which each comes before its parent. Of the runs that can be next, it takes
/// the one that was opened last.
///
/// `runs` has each run's id, its parent, and how many runs were opened before. If runs are each other's
/// parents, the one of them that was opened last comes first. So no run is left out.
pub(super) fn deepest_first(runs: impl Iterator<Item = (RunId, Option<RunId>, u64)>) -> Vec<RunId> {
    let runs: BTreeMap<RunId, (Option<RunId>, u64)> =
        runs.map(|(id, parent, position)| (id, (parent, position))).collect();
    let mut children: BTreeMap<RunId, usize> = BTreeMap::new();
    for parent in runs.values().filter_map(|(parent, _)| *parent) {
        *children.entry(parent).or_default() += 1;
    }
    let mut left: BTreeMap<u64, RunId> =
        runs.iter().map(|(id, (_, position))| (*position, *id)).collect();
    let mut ready = left.clone();
    ready.retain(|_, id| !children.contains_key(id));
    let mut order = Vec::with_capacity(runs.len());
    while let Some((position, id)) = ready.pop_last().or_else(|| left.pop_last()) {
        left.remove(&position);
        order.push(id);
        let Some((Some(parent), _)) = runs.get(&id) else { continue };
        let Some(open) = children.get_mut(parent) else { continue };
        *open -= 1;
        if let (0, Some((_, position))) = (*open, runs.get(parent)) {
            if left.contains_key(position) {
                ready.insert(*position, *parent);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn id(number: u8) -> RunId {
        RunId::from_bytes([number; 16])
    }

    fn order(runs: &[(u8, u8)]) -> Vec<u8> {
        let runs = runs.iter().zip(0..).map(|(&(run, parent), position)| {
            (id(run), (parent != 0).then(|| id(parent)), position)
        });
        deepest_first(runs).into_iter().map(|id| id.as_bytes()[0]).collect()
    }

    #[test]
    fn children_come_before_their_parents_and_the_latest_run_comes_first() {
        assert_eq!(order(&[(1, 0), (2, 1), (3, 1), (4, 2)]), [4, 3, 2, 1]);
        // A parent that was opened after its child, and one that is not there.
        assert_eq!(order(&[(2, 1), (1, 0), (3, 9)]), [3, 2, 1]);
    }

    #[test]
    fn runs_that_are_each_others_parents_are_not_left_out() {
        assert_eq!(order(&[(1, 1)]), [1]);
        assert_eq!(order(&[(1, 2), (2, 1)]), [2, 1]);
        // A ring with a run under it and one beside it.
        assert_eq!(order(&[(1, 3), (2, 1), (3, 2), (4, 1), (5, 0)]), [5, 4, 3, 2, 1]);
    }
}
