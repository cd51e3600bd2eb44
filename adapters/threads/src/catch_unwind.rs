//! Stops panics of user code.

use std::panic::{AssertUnwindSafe, catch_unwind as std_catch_unwind};

/// Calls `f`. Returns `None` if it panics; the panic hook has reported the panic by then.
///
/// `AssertUnwindSafe` is sound here because user code runs outside of all locks, and what a panic
/// leaves behind is dropped and not used again.
pub(crate) fn catch_unwind<T>(f: impl FnOnce() -> T) -> Option<T> {
    std_catch_unwind(AssertUnwindSafe(f))
        .map_err(|payload| {
            // The payload's own `Drop` may panic. Its second payload is leaked, because dropping
            // that one could go on for ever.
            let dropped = std_catch_unwind(AssertUnwindSafe(|| drop(payload)));
            let _ = dropped.map_err(std::mem::forget);
        })
        .ok()
}

/// Drops a value of the user's. A panic in its `Drop` stops here.
pub(crate) fn drop_caught<T>(value: T) {
    let _ = catch_unwind(|| drop(value));
}
