//! What core takes from `std::time`: a clock that stands still until a test lets time pass. Loom
//! needs each run of one order to be the same.

use core::cell::Cell;
use core::time::Duration;

system::thread_local! {
    // Loom runs all of its threads on one thread of the system, so it is one clock for each test.
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

pub(crate) fn reset() {
    NOW.set(Duration::ZERO);
}

pub(crate) fn pass(time: Duration) {
    NOW.set(NOW.get() + time);
}

#[derive(Clone, Copy)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.get())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        NOW.get() - self.0
    }
}
