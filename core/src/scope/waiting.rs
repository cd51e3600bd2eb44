//! Those who wait for a run's event in flight.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::task::Waker;

use crate::sync::Lock;
use crate::waiters::{Waiter, Waiters};

/// The tasks to wake when the event in flight can go on, or is handled.
///
/// The event in flight is polled with this as its waker. It stands apart from the run, which holds the event in flight: a handler's future that
/// keeps its waker must not keep the run, or neither would ever be dropped.
pub(super) struct Waiting(Lock<List>);

#[derive(Default)]
struct List {
    waiters: Waiters,
    /// Whether the event in flight was woken since it was last polled.
    woken: bool,
}

impl Waiting {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Lock::new(List::default())))
    }

    pub(super) fn enlist(&self, waiter: &mut Waiter, waker: &Waker) {
        // Cloned, and what it replaces dropped, out here: a waker is foreign code, and must not be called under the lock.
        let waker = waker.clone();
        let _replaced = self.0.with(|list| list.waiters.enlist(waiter, waker));
    }

    /// The event in flight is about to be polled.
    pub(super) fn before_poll(&self) {
        self.0.with(|list| list.woken = false);
    }

    /// Whether the event in flight was woken since it was last polled.
    pub(super) fn was_woken(&self) -> bool {
        self.0.with(|list| list.woken)
    }

    pub(super) fn wake_all(&self) {
        for waker in self.0.with(|list| list.waiters.take()) {
            waker.wake();
        }
    }
}

/// The event in flight can go on.
impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.with(|list| list.woken = true);
        self.wake_all();
    }
}
