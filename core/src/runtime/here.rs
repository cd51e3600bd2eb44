//! Which runtime's tasks this thread polls: a thread must not block on a task that it polls itself.

use core::cell::Cell;

std::thread_local! {
    /// The address of the runtime whose tasks are polled.
    static POLLED: Cell<usize> = const { Cell::new(0) };
}

/// Marks this thread as polling tasks of a runtime until it is dropped.
pub(crate) struct CurrentRuntime(usize);

impl CurrentRuntime {
    /// Enters `runtime`, which is identified by its address.
    pub(crate) fn enter<T>(runtime: &T) -> Self {
        Self(replace(core::ptr::from_ref(runtime).addr()))
    }

    /// Returns `true` if this thread polls tasks of `runtime`.
    pub(crate) fn is<T>(runtime: &T) -> bool {
        let address = core::ptr::from_ref(runtime).addr();
        POLLED.try_with(Cell::get).is_ok_and(|polled| polled == address)
    }
}

impl Drop for CurrentRuntime {
    fn drop(&mut self) {
        replace(self.0);
    }
}

fn replace(runtime: usize) -> usize {
    POLLED.try_with(|polled| polled.replace(runtime)).unwrap_or_default()
}
