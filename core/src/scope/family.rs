//! Which runs are open under which: a parent that ends first marks its open children.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Facts, has_changed};

/// One run's part in its family.
#[derive(Default)]
pub(crate) struct Family {
    /// Twice the number of its open children, and one more once it has ended: both in one word, so that a child that starts beside its
    /// parent's end is either counted by that end, or started after it.
    children: AtomicUsize,
    /// Whether it started under a parent that was open, and is counted there.
    counted: AtomicBool,
}

const ENDED: usize = 1;
const CHILD: usize = 2;

impl Facts {
    /// The run has started: it counts with its parent, unless it is detached, or that has ended. (The manager of an ended run's children stays
    /// usable.)
    pub(super) fn join_parent(&self) {
        let Some(parent) = self.setup.parent.0.as_ref().filter(|_| !self.setup.detached) else {
            return;
        };
        let before = parent.family.children.fetch_add(CHILD, Ordering::AcqRel);
        if before & ENDED != 0 || parent.is_cut_off() {
            parent.family.children.fetch_sub(CHILD, Ordering::AcqRel);
        } else {
            self.family.counted.store(true, Ordering::Release);
        }
    }

    /// The run has ended: it counts no longer with its parent, and its children are cut off. Gives how many of them are open.
    pub(super) fn end_family(&self) -> usize {
        if let Some(parent) = self.setup.parent.0.as_ref().filter(|_| self.family.counted.load(Ordering::Acquire)) {
            parent.family.children.fetch_sub(CHILD, Ordering::AcqRel);
        }
        let open = self.family.children.fetch_or(ENDED, Ordering::AcqRel) / CHILD;
        if open > 0 {
            // They are cut off.
            has_changed();
        }
        open
    }

    /// Whether the run has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.family.children.load(Ordering::Acquire) & ENDED != 0
    }

    /// Whether an ancestor under which the run started has ended before it.
    pub(super) fn is_cut_off(&self) -> bool {
        let mut run = self;
        while let Some(parent) = run.setup.parent.0.as_ref().filter(|_| run.family.counted.load(Ordering::Acquire)) {
            if parent.family.children.load(Ordering::Acquire) & ENDED != 0 {
                return true;
            }
            run = parent;
        }
        false
    }
}
