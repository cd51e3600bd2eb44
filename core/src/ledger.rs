//! Which accepted events are still to be handled: what a flush waits for.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
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
    waiting: Vec<(u64, Waker)>,
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
        Flush {
            until: self.0.with(|pages| pages.next),
            ledger: self.clone(),
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
            let (settled, waiting) = waiting.into_iter().partition::<Vec<_>, _>(|(until, _)| pages.settled(*until));
            pages.waiting = waiting;
            settled
        });
        for (_, waker) in settled {
            waker.wake();
        }
    }
}

/// Waits until all that was emitted before it is handled: what [`CallbackManager::flush`](crate::CallbackManager::flush) returns.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Flush {
    ledger: Arc<Ledger>,
    until: u64,
}

impl Future for Flush {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned out here: a waker is foreign code, and must not be called under the lock.
        let waker = cx.waker().clone();
        let (poll, _known) = self.ledger.0.with(|pages| {
            if pages.settled(self.until) {
                return (Poll::Ready(()), Some(waker));
            }
            let waiting = &mut pages.waiting;
            if waiting.iter().any(|(until, known)| *until == self.until && known.will_wake(&waker)) {
                return (Poll::Pending, Some(waker));
            }
            waiting.push((self.until, waker));
            (Poll::Pending, None)
        });
        poll
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("until", &self.until).finish_non_exhaustive()
    }
}
