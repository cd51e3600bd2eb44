//! Which events are still to be handled: what a flush waits for.
//!
//! A page counts what was opened while it was the last; a flush turns the page, and waits until all pages before it are settled. So counting costs
//! the same however much is open, and a flush does not wait for what comes after it. (Only if more than [`PAGES`] flushes wait for different things, the
//! next one waits for what comes until one of them is over, too.)
//!
//! Counting takes no lock. What is opened on a page while that is turned is opened again on the next one.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::sync::{AtomicUsize, Lock, Ordering};

/// How many pages there are room for; numbers go on, and a settled page's room is used again.
const PAGES: usize = 8;

/// Counts every event in before it is handed on, and out once it is handled.
pub(crate) struct Ledger {
    /// The number of the last page.
    last: AtomicUsize,
    /// Of each page: twice how much is open, and [`TURNED`].
    open: [AtomicUsize; PAGES],
    turned: Lock<Turned>,
}

/// The page has been turned: whoever closes the last on it tells those who wait for that.
const TURNED: usize = 1;
const ONE: usize = 2;

struct Turned {
    /// The number of the first page that is not settled, or the last one's.
    first: usize,
    /// Flushes that wait, each under its own number, for all pages before one.
    waiting: Vec<Waiting>,
    flushes: u64,
}

struct Waiting {
    flush: u64,
    until: usize,
    waker: Waker,
}

impl Turned {
    /// Lets go of settled pages; gives who waited for that.
    fn settle(&mut self, ledger: &Ledger) -> Vec<Waiting> {
        loop {
            let last = ledger.last.load(Ordering::Acquire);
            while self.first < last && ledger.open_on(self.first) == 0 {
                // Who is late for it counts in and out here, and on a later page that has its room: neither makes a difference.
                ledger.page(self.first).fetch_and(!TURNED, Ordering::AcqRel);
                self.first += 1;
            }
            // One that found no room for another page.
            if !(self.waiting.iter().any(|waiting| waiting.until > last) && self.turn(ledger, last)) {
                break;
            }
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

    /// Turns the last page, if there is room for one more.
    fn turn(&mut self, ledger: &Ledger, last: usize) -> bool {
        if last + 1 - self.first >= PAGES {
            return false;
        }
        // In this order: who opens something on the page after we have marked it finds that it is not the last; who did so before is waited for.
        ledger.last.swap(last + 1, Ordering::AcqRel);
        ledger.page(last).fetch_or(TURNED, Ordering::AcqRel);
        true
    }
}

fn wake(settled: Vec<Waiting>) {
    for Waiting { waker, .. } in settled {
        // A waker that panics is its runtime's affair, and must not stop a lane.
        let _ = crate::contain::contained(|| waker.wake());
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            last: AtomicUsize::new(0),
            open: core::array::from_fn(|_| AtomicUsize::new(0)),
            turned: Lock::new(Turned {
                first: 0,
                waiting: Vec::new(),
                flushes: 0,
            }),
        }
    }

    fn page(&self, number: usize) -> &AtomicUsize {
        &self.open[number % PAGES]
    }

    fn open_on(&self, page: usize) -> usize {
        self.page(page).load(Ordering::Acquire) / ONE
    }

    /// Counts one in; gives the page that it is on.
    pub(crate) fn open(&self) -> usize {
        loop {
            let page = self.last.load(Ordering::Acquire);
            self.page(page).fetch_add(ONE, Ordering::AcqRel);
            if self.last.load(Ordering::Acquire) == page {
                return page;
            }
            self.close(page);
        }
    }

    /// Counts one of that page out.
    pub(crate) fn close(&self, page: usize) {
        if self.page(page).fetch_sub(ONE, Ordering::AcqRel) == ONE | TURNED {
            self.settle();
        }
    }

    #[cold]
    fn settle(&self) {
        wake(self.turned.with(|turned| turned.settle(self)));
    }

    /// How much is open.
    pub(crate) fn open_count(&self) -> usize {
        self.turned.with(|turned| {
            let last = self.last.load(Ordering::Acquire);
            (turned.first..=last).map(|page| self.open_on(page)).sum()
        })
    }

    pub(crate) fn flush(self: &Arc<Self>) -> Flush {
        let (until, number) = self.turned.with(|turned| {
            turned.flushes += 1;
            let last = self.last.load(Ordering::Acquire);
            let until = if self.open_on(last) == 0 { last } else { last + 1 };
            if until > last {
                turned.turn(self, last);
            }
            (until, turned.flushes)
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
    page: Option<usize>,
}

impl Ticket {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            page: Some(ledger.open()),
            ledger: ledger.clone(),
        }
    }

    /// Hands it over to whoever closes the page from here on.
    pub(crate) fn into_page(mut self) -> Option<usize> {
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
    until: usize,
    number: u64,
}

impl Future for Flush {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned out here: a waker is foreign code, and must not be called under the lock.
        let waker = cx.waker().clone();
        let number = self.number;
        let (ready, _replaced, settled) = self.ledger.turned.with(|turned| {
            let until = self.until;
            let waiting = Waiting {
                flush: number,
                until,
                waker,
            };
            let known = turned.waiting.iter_mut().find(|known| known.flush == number);
            let replaced = match known {
                Some(known) => Some(core::mem::replace(known, waiting)),
                None => {
                    turned.waiting.push(waiting);
                    None
                }
            };
            let (own, others): (Vec<_>, Vec<_>) = turned.settle(&self.ledger).into_iter().partition(|settled| settled.flush == number);
            (!own.is_empty(), (replaced, own), others)
        });
        // Others that are over, as we have just found.
        wake(settled);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let _waker = self.ledger.turned.with(|turned| {
            let index = turned.waiting.iter().position(|waiting| waiting.flush == self.number)?;
            Some(turned.waiting.swap_remove(index))
        });
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("until", &self.until).finish_non_exhaustive()
    }
}
