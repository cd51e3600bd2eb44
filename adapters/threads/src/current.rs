//! The runtime whose task the current thread polls.

use std::cell::Cell;

thread_local! {
    /// The address of the runtime's tasks, or 0.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// Marks the current thread as one that polls a runtime's task, until the value is dropped. Such
/// a thread must not block on another task of that runtime.
pub(crate) struct CurrentRuntime {
    previous: usize,
}

impl CurrentRuntime {
    pub(crate) fn enter<T>(runtime: &T) -> Self {
        Self { previous: replace(address(runtime)) }
    }

    /// Returns `true` if the current thread polls a task of `runtime`.
    pub(crate) fn is<T>(runtime: &T) -> bool {
        CURRENT.try_with(Cell::get).is_ok_and(|current| current == address(runtime))
    }
}

impl Drop for CurrentRuntime {
    fn drop(&mut self) {
        replace(self.previous);
    }
}

fn address<T>(runtime: &T) -> usize {
    std::ptr::from_ref(runtime).addr()
}

/// Does nothing while the thread's own values are being destroyed: it polls no task then.
fn replace(current: usize) -> usize {
    CURRENT.try_with(|cell| cell.replace(current)).unwrap_or_default()
}
