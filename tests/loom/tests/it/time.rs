//! A clock that stands still until a test lets time pass. Loom has none, and needs each run of one order to be the same.

use core::cell::Cell;
use core::time::Duration;

thread_local! {
    // All of loom's threads are on one of the system's, so it is one clock for each test.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

pub(crate) fn reset() {
    NOW.set(Duration::ZERO);
}

pub(crate) fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

/// What core knows as the standard library's.
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.get())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        NOW.get() - self.0
    }
}
