//! Those who wait for a run's event in flight.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::task::Waker;

use crate::sync::{AtomicUsize, Lock, Ordering};
use crate::waiters::{Waiter, Waiters, wake};

/// The tasks to wake when the event in flight can go on, or is handled.
///
/// The event in flight is polled with this as its waker. It stands apart from the run, which holds the event in flight: a handler's future that
/// keeps its waker must not keep the run, or neither would ever be dropped.
pub(super) struct Waiting {
    waiters: Lock<Waiters>,
    /// Not zero where there may be waiters. Said before they look again whether they have to wait, and asked after that has changed.
    any: AtomicUsize,
    /// Whether the event in flight has to be polled again: [`WOKEN`] and [`WANTED`].
    again: AtomicUsize,
}

/// It was woken since it was last polled.
const WOKEN: usize = 1;
/// Somebody came by while another one polled it, and has to poll it himself.
const WANTED: usize = 2;

impl Waiting {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            waiters: Lock::new(Waiters::default()),
            any: AtomicUsize::new(0),
            again: AtomicUsize::new(0),
        })
    }

    pub(super) fn enlist(&self, waiter: &mut Waiter, waker: &Waker) {
        // Cloned, and what it replaces dropped, out here: a waker is foreign code, and must not be called under the lock.
        let waker = waker.clone();
        let _replaced = self.waiters.with(|waiters| waiters.enlist(waiter, waker));
        self.any.swap(1, Ordering::SeqCst);
    }

    /// The event in flight is about to be polled.
    #[inline]
    pub(super) fn before_poll(&self) {
        if self.again.load(Ordering::SeqCst) & WOKEN != 0 {
            // Not a mere store: what the waker saw before it woke us is to be seen by this poll, or another one has to follow.
            self.again.fetch_and(!WOKEN, Ordering::SeqCst);
        }
    }

    /// Whoever polls the event in flight is to wake us once he is through with that. Said before we look again whether somebody does.
    pub(super) fn want(&self) {
        self.again.fetch_or(WANTED, Ordering::SeqCst);
    }

    /// Whether the event in flight was woken since it was last polled, or somebody else wants to poll it.
    pub(super) fn is_wanted(&self) -> bool {
        self.again.load(Ordering::SeqCst) != 0 && self.again.fetch_and(!WANTED, Ordering::SeqCst) != 0
    }

    #[inline]
    pub(super) fn wake_all(&self) {
        if self.any.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiters = self.waiters.with(|waiters| {
            self.any.store(0, Ordering::SeqCst);
            waiters.take()
        });
        wake(waiters);
    }
}

/// The event in flight can go on.
impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.fetch_or(WOKEN, Ordering::SeqCst);
        self.wake_all();
    }
}
