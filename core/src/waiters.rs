//! Tasks that wait for something.

use alloc::vec::Vec;
use core::num::NonZeroU64;
use core::task::Waker;

use crate::contain::contained;

/// Wakes them all, outside any lock. A waker that panics is its runtime's affair, and keeps nobody else waiting.
pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        let _ = contained(|| waker.wake());
    }
}

/// Tasks to wake; each is in here once, however often it is polled, and with whichever waker.
#[derive(Default)]
pub(crate) struct Waiters {
    /// Mostly there is one, who needs no list.
    first: Option<(u64, Waker)>,
    more: Vec<(u64, Waker)>,
    count: u64,
}

/// Which one of them somebody is, once he waits.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Waiter(Option<NonZeroU64>);

impl Waiters {
    /// Has him woken by that waker next. Gives the one that he had before: a waker is foreign code, and must not be dropped under a lock.
    pub(crate) fn enlist(&mut self, waiter: &mut Waiter, waker: Waker) -> Option<Waker> {
        let known = waiter.0.and_then(|number| {
            let mut known = self.first.iter_mut().chain(&mut self.more);
            known.find(|(known, _)| *known == number.get())
        });
        if let Some((_, known)) = known {
            return Some(core::mem::replace(known, waker));
        }
        self.count += 1;
        waiter.0 = NonZeroU64::new(self.count);
        match &self.first {
            None => self.first = Some((self.count, waker)),
            Some(_) => self.more.push((self.count, waker)),
        }
        None
    }

    /// All of them, to be woken outside any lock.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let more = core::mem::take(&mut self.more);
        self.first.take().into_iter().chain(more).map(|(_, waker)| waker)
    }
}
