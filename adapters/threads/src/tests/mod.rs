//! Tests of what cannot be seen through a manager.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod drops_that_panic;
mod ends_of_the_runtime;
mod ends_of_the_timer_thread;
mod work_while_threads_leave;

use std::num::NonZeroUsize;
use std::thread;
use std::time::{Duration, Instant};

use crate::Threads;

/// No test waits for as long as this unless it fails.
const FAILED: Duration = Duration::from_secs(30);

/// Only the end of the runtime ends a thread that waits for as long as this.
const HOUR: Duration = Duration::from_secs(60 * 60);

fn threads_with(idle_timeout: Duration) -> Threads {
    Threads::with_idle_timeout(NonZeroUsize::MIN, NonZeroUsize::MIN, idle_timeout)
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < FAILED, "this did not come true: {what}");
        thread::yield_now();
    }
}

/// A value whose `Drop` panics, after `f` is called.
struct PanicOnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for PanicOnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
        if !thread::panicking() {
            panic!("a drop's");
        }
    }
}
