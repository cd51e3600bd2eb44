//! Which events are still to be handled: what a flush waits for.
//!
//! A page counts what was opened while it was the last; a flush turns the page, and waits until all pages before it are settled. So counting costs
//! the same however much is open, and a flush does not wait for what comes after it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::sync::Lock;

/// Counts every event in before it is handed on, and out once it is handled.
pub(crate) struct Ledger(Lock<Pages>);

struct Pages {
    /// The number of the first page.
    first: u64,
    /// How much is open on each page; there is always one.
    open: VecDeque<usize>,
    /// Flushes that wait, each under its own number, for all pages before one.
    waiting: Vec<Waiting>,
    flushes: u64,
}

struct Waiting {
    flush: u64,
    until: u64,
    waker: Waker,
}

impl Pages {
    fn last(&self) -> u64 {
        self.first + self.open.len() as u64 - 1
    }

    /// Lets go of settled pages; gives who waited for that.
    fn settle(&mut self) -> Vec<Waiting> {
        while self.open.len() > 1 && self.open[0] == 0 {
            self.open.pop_front();
            self.first += 1;
        }
        let first = self.first;
        if self.waiting.iter().all(|waiting| waiting.until > first) {
            return Vec::new();
        }
        let (settled, waiting) = core::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|waiting| waiting.until <= first);
        self.waiting = waiting;
        settled
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self(Lock::new(Pages {
            first: 0,
            open: VecDeque::from([0]),
            waiting: Vec::new(),
            flushes: 0,
        }))
    }

    /// Counts one in; gives the page that it is on.
    pub(crate) fn open(&self) -> u64 {
        self.0.with(|pages| {
            if let Some(open) = pages.open.back_mut() {
                *open += 1;
            }
            pages.last()
        })
    }

    /// Counts one of that page out.
    pub(crate) fn close(&self, page: u64) {
        let settled = self.0.with(|pages| {
            let index = page.checked_sub(pages.first).and_then(|index| usize::try_from(index).ok());
            if let Some(open) = index.and_then(|index| pages.open.get_mut(index)) {
                *open -= 1;
            }
            pages.settle()
        });
        for Waiting { waker, .. } in settled {
            // A waker that panics is its runtime's affair, and must not stop a lane.
            let _ = crate::contain::contained(|| waker.wake());
        }
    }

    /// How much is open.
    pub(crate) fn open_count(&self) -> usize {
        self.0.with(|pages| pages.open.iter().sum())
    }

    pub(crate) fn flush(self: &Arc<Self>) -> Flush {
        let (until, number) = self.0.with(|pages| {
            pages.flushes += 1;
            if pages.open.back().is_some_and(|open| *open > 0) {
                pages.open.push_back(0);
            }
            (pages.last(), pages.flushes)
        });
        Flush {
            ledger: self.clone(),
            until,
            number,
        }
    }
}

/// Something that is still to be handled; dropping it says that it is.
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    /// Absent once somebody else answers for it.
    page: Option<u64>,
}

impl Ticket {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            page: Some(ledger.open()),
            ledger: ledger.clone(),
        }
    }

    /// Hands it over to whoever closes the page from here on.
    pub(crate) fn into_page(mut self) -> Option<u64> {
        self.page.take()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(page) = self.page {
            self.ledger.close(page);
        }
    }
}

/// Waits until all that was emitted before it is handled: what [`CallbackManager::flush`](crate::CallbackManager::flush) and
/// [`flush_handler`](crate::CallbackManager::flush_handler) return.
///
/// Dropping it does nothing else than not to wait.
#[must_use = "futures do nothing unless they are awaited"]
pub struct Flush {
    ledger: Arc<Ledger>,
    /// All pages before this one have to be settled.
    until: u64,
    number: u64,
}

impl Future for Flush {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned out here: a waker is foreign code, and must not be called under the lock.
        let waker = cx.waker().clone();
        let (poll, _replaced) = self.ledger.0.with(|pages| {
            if pages.first >= self.until {
                return (Poll::Ready(()), Some(waker));
            }
            let waiting = Waiting {
                flush: self.number,
                until: self.until,
                waker,
            };
            let known = pages.waiting.iter_mut().find(|known| known.flush == self.number);
            let replaced = match known {
                Some(known) => Some(core::mem::replace(known, waiting).waker),
                None => {
                    pages.waiting.push(waiting);
                    None
                }
            };
            (Poll::Pending, replaced)
        });
        poll
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let _waker = self.ledger.0.with(|pages| {
            let index = pages.waiting.iter().position(|waiting| waiting.flush == self.number)?;
            Some(pages.waiting.swap_remove(index))
        });
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("until", &self.until).finish_non_exhaustive()
    }
}
