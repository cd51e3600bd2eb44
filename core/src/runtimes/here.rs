//! Whose tasks this thread polls at the moment: such a thread must not be blocked for one of them.

use core::cell::Cell;

std::thread_local! {
    /// The address of what they belong to.
    static POLLED: Cell<usize> = const { Cell::new(0) };
}

/// Says that this thread polls tasks of `owner`, until it is dropped.
pub(super) struct Polls(usize);

impl Polls {
    pub(super) fn tasks_of<T>(owner: &T) -> Self {
        Self(replace(core::ptr::from_ref(owner).addr()))
    }
}

impl Drop for Polls {
    fn drop(&mut self) {
        replace(self.0);
    }
}

/// Whether this thread polls tasks of `owner`.
pub(super) fn are_polled<T>(owner: &T) -> bool {
    POLLED
        .try_with(Cell::get)
        .is_ok_and(|polled| polled == core::ptr::from_ref(owner).addr())
}

fn replace(owner: usize) -> usize {
    POLLED.try_with(|polled| polled.replace(owner)).unwrap_or_default()
}
