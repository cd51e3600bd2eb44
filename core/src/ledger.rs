//! Which accepted events are still to be handled: what a flush waits for.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::sync::Lock;

/// Counts every accepted event in before it is handed on, and out once all have handled it.
pub(crate) struct Ledger(Lock<Pages>);

#[derive(Default)]
struct Pages {
    next: u64,
    open: BTreeSet<u64>,
    /// Who waits for everything before a number: one entry a flush, under the flush's own number.
    waiting: BTreeMap<u64, (u64, Waker)>,
    flushes: u64,
}

impl Pages {
    /// Whether everything before `until` is handled.
    fn settled(&self, until: u64) -> bool {
        self.open.first().is_none_or(|first| *first >= until)
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Lock::new(Pages::default()))
    }

    pub(crate) fn open(self: &Arc<Self>) -> Ticket {
        let number = self.0.with(|pages| {
            let number = pages.next;
            pages.next += 1;
            pages.open.insert(number);
            number
        });
        Ticket {
            ledger: self.clone(),
            number,
        }
    }

    pub(crate) fn flush(self: &Arc<Self>) -> Flush {
        let (until, number) = self.0.with(|pages| {
            pages.flushes += 1;
            (pages.next, pages.flushes)
        });
        Flush {
            ledger: self.clone(),
            until,
            number,
        }
    }
}

/// An accepted event that is still to be handled; dropping it says that it is.
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let settled = self.ledger.0.with(|pages| {
            pages.open.remove(&self.number);
            let waiting = core::mem::take(&mut pages.waiting);
            let (settled, waiting) = waiting.into_iter().partition(|(_, (until, _))| pages.settled(*until));
            pages.waiting = waiting;
            settled
        });
        let settled: BTreeMap<u64, (u64, Waker)> = settled;
        for (_, waker) in settled.into_values() {
            waker.wake();
        }
    }
}

/// Waits until all that was emitted before it is handled: what [`CallbackManager::flush`](crate::CallbackManager::flush) returns.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Flush {
    ledger: Arc<Ledger>,
    until: u64,
    number: u64,
}

impl Future for Flush {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned out here: a waker is foreign code, and must not be called under the lock.
        let waker = cx.waker().clone();
        let (poll, _replaced) = self.ledger.0.with(|pages| {
            if pages.settled(self.until) {
                return (Poll::Ready(()), None);
            }
            (Poll::Pending, pages.waiting.insert(self.number, (self.until, waker)))
        });
        poll
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let _waker = self.ledger.0.with(|pages| pages.waiting.remove(&self.number));
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("until", &self.until).finish_non_exhaustive()
    }
}
