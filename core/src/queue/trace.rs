//! The queued events of one trace: first in, first out over all runs of the trace.
//!
//! Capacity, coalescing and dropping count per run. So each run has a chain through its own queued
//! tokens. A token is joined to an earlier token of its run, but never across another event of
//! that run.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::Epoch;
use super::blocks::Blocks;
use super::item::{Item, Part};

/// A queued event with what belongs to it. `H` keeps an emitter waiting until it is dropped.
pub(crate) struct Entry<I, H> {
    /// The run's key in the lane.
    pub(super) seat: u32,
    /// Absent if the event was taken out of the middle.
    pub(crate) item: Option<I>,
    /// The emitter that waits for the answer.
    pub(crate) answer: Option<H>,
    /// When the emitter stops waiting, in microseconds of the lane's timer.
    pub(crate) due: u64,
    /// How many events it is: more than one if tokens were joined.
    pub(crate) pieces: u32,
    /// Events of the run that were dropped right before it.
    pub(crate) dropped: u32,
    pub(super) epoch: Epoch,
    /// Whether its time is up. Its failure has been counted.
    pub(crate) expired: bool,
    /// The run's token before and after it.
    previous: u64,
    next: u64,
}

impl<I, H> Entry<I, H> {
    #[inline]
    pub(super) fn new(
        seat: usize,
        item: I,
        (answer, due): (Option<H>, u64),
        epoch: Epoch,
        dropped: u32,
    ) -> Self {
        Self {
            // More runs than that are not open at a time.
            seat: seat as u32,
            item: Some(item),
            answer,
            due,
            pieces: 1,
            dropped,
            epoch,
            expired: false,
            previous: NONE,
            next: NONE,
        }
    }
}

/// No entry.
const NONE: u64 = u64::MAX;

/// A run's tokens in its trace's queue.
pub(super) struct Chain {
    first: u64,
    last: u64,
    /// The position of the run's last event that is no token: nothing is joined across it.
    barrier: u64,
}

impl Chain {
    pub(super) const fn new() -> Self {
        Self { first: NONE, last: NONE, barrier: NONE }
    }
}

pub(super) struct TraceQueue<I, H> {
    /// The position of the first entry.
    base: u64,
    /// The position of the next entry.
    end: u64,
    entries: Blocks<Entry<I, H>>,
    /// How many entries have no item.
    gone: usize,
    /// Whether there may be entries of more than one run.
    mixed: bool,
    /// The run of the last entry.
    last_seat: u32,
}

impl<I: Item, H> TraceQueue<I, H> {
    /// An empty queue whose first entry has the position `base`. It is `spare` once more if there
    /// is one.
    pub(super) fn begin(spare: Option<Box<Self>>, base: u64) -> Box<Self> {
        match spare {
            Some(mut queue) => {
                (queue.base, queue.end) = (base, base);
                queue
            }
            None => Box::new(Self {
                base,
                end: base,
                entries: Blocks::default(),
                gone: 0,
                mixed: false,
                last_seat: 0,
            }),
        }
    }

    /// Empties a queue that nothing waits in. Returns the position after its last entry.
    pub(super) fn end(&mut self) -> u64 {
        while self.entries.pop_front().is_some() {}
        (self.gone, self.mixed, self.base) = (0, false, self.end);
        self.end
    }

    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == self.gone
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry<I, H>> {
        self.entries.iter_mut()
    }

    fn at(&mut self, position: u64) -> Option<&mut Entry<I, H>> {
        if position == NONE {
            return None;
        }
        self.entries.get_mut(usize::try_from(position.wrapping_sub(self.base)).ok()?)
    }

    #[inline]
    pub(super) fn push(&mut self, chain: &mut Chain, part: Part, mut entry: Entry<I, H>) {
        let position = self.end;
        self.end += 1;
        if part == Part::Token {
            entry.previous = self.link(position, chain);
        } else {
            chain.barrier = position;
        }
        self.mixed |= core::mem::replace(&mut self.last_seat, entry.seat) != entry.seat;
        self.entries.push_back(entry);
    }

    /// Appends the token at `position` to its run's chain. Returns the position of the one before.
    #[inline]
    fn link(&mut self, position: u64, chain: &mut Chain) -> u64 {
        let previous = core::mem::replace(&mut chain.last, position);
        match self.at(previous) {
            Some(last) => last.next = position,
            None => chain.first = position,
        }
        previous
    }

    /// Joins a token to the run's last token that accepts it. Returns it if there is none.
    pub(super) fn coalesce(&mut self, chain: &Chain, item: I, pieces: u32) -> Result<(), I> {
        let mut position = chain.last;
        let barrier = chain.barrier;
        while let Some(entry) = self.at(position) {
            if barrier != NONE && position < barrier {
                break;
            }
            match &mut entry.item {
                Some(earlier) if earlier.accepts(&item) => {
                    earlier.coalesce(item);
                    entry.pieces += pieces;
                    return Ok(());
                }
                _ => position = entry.previous,
            }
        }
        Err(item)
    }

    /// Joins the run's last token to an earlier one. Returns its epoch, or `None` if no earlier
    /// token accepts it.
    pub(super) fn coalesce_last(&mut self, chain: &mut Chain) -> Option<Epoch> {
        let last = chain.last;
        let barrier = chain.barrier;
        let entry = self.at(last)?;
        if barrier != NONE && last < barrier {
            return None;
        }
        let (previous, pieces, epoch) = (entry.previous, entry.pieces, entry.epoch);
        let (item, dropped) = (entry.item.take()?, entry.dropped);
        let earlier = Chain { first: chain.first, last: previous, barrier };
        match self.coalesce(&earlier, item, pieces) {
            Ok(()) => {
                if let Some(entry) = self.at(previous) {
                    entry.next = NONE;
                    entry.dropped += dropped;
                }
                chain.last = previous;
                self.gone += 1;
                self.compact_back();
                Some(epoch)
            }
            Err(item) => {
                if let Some(entry) = self.at(last) {
                    entry.item = Some(item);
                }
                None
            }
        }
    }

    /// Entries without an item at the back are of no use.
    fn compact_back(&mut self) {
        while self.entries.back().is_some_and(|entry| entry.item.is_none()) {
            self.entries.pop_back();
            self.end -= 1;
            self.gone -= 1;
        }
    }

    /// The position of the run's oldest token.
    fn oldest(&mut self, chain: &Chain) -> u64 {
        if self.at(chain.first).is_some() {
            return chain.first;
        }
        // It was passed on. Those that were not are found from the newest to the oldest.
        let mut oldest = chain.last;
        while let Some(previous) = self.at(oldest).map(|entry| entry.previous) {
            if self.at(previous).is_none() {
                break;
            }
            oldest = previous;
        }
        oldest
    }

    /// Takes the run's oldest token out. Returns it with its pieces and its epoch, and how many
    /// events were dropped if no later token of the run can say so.
    pub(super) fn evict(&mut self, chain: &mut Chain) -> Option<(I, Epoch, u32)> {
        let evicted = self.oldest(chain);
        let entry = self.at(evicted)?;
        let (next, epoch, seat) = (entry.next, entry.epoch, entry.seat);
        let lost = entry.dropped + entry.pieces;
        let item = entry.item.take()?;
        self.gone += 1;
        chain.first = next;
        let mut untold = 0;
        match self.at(next) {
            Some(entry) => {
                entry.previous = NONE;
                entry.dropped += lost;
            }
            None => {
                chain.last = NONE;
                // The run's next event says so, whatever it is.
                let after = usize::try_from(evicted.wrapping_sub(self.base)).unwrap_or(usize::MAX);
                let mut later = self.entries.iter_mut().skip(after.saturating_add(1));
                let told = |entry: &&mut Entry<I, H>| entry.seat == seat && entry.item.is_some();
                match later.find(told) {
                    Some(entry) => entry.dropped += lost,
                    None => untold = lost,
                }
            }
        }
        Some((item, epoch, untold))
    }

    /// Whether so many entries have no item that the queue should be compacted.
    pub(super) fn is_sparse(&self) -> bool {
        self.len() >= 32 && self.gone * 2 > self.len()
    }

    /// Removes the entries without an item. `chains` gives the chain of a seat.
    pub(super) fn compact(&mut self, mut chain_of: impl FnMut(u32, fn(&mut Chain))) {
        self.end -= core::mem::take(&mut self.gone) as u64;
        // Chains are rebuilt by pushing the entries once more.
        for entry in self.entries.iter_mut() {
            chain_of(entry.seat, |chain| *chain = Chain::new());
        }
        let old = self.entries.drain();
        for entry in old.filter(|entry| entry.item.is_some()) {
            self.entries.push_back(entry);
        }
    }

    /// Sets the links of entry `index` anew after [`compact`](Self::compact).
    pub(super) fn relink(&mut self, index: usize, chain: &mut Chain) {
        let position = self.base + index as u64;
        let entry = self.entries.get_mut(index);
        let item = entry.and_then(|entry| entry.item.as_ref());
        if item.is_none_or(|item| item.part() != Part::Token) {
            chain.barrier = position;
            return;
        }
        let previous = self.link(position, chain);
        if let Some(entry) = self.entries.get_mut(index) {
            (entry.previous, entry.next) = (previous, NONE);
        }
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.base) as usize
    }

    pub(super) fn seat_at(&mut self, index: usize) -> Option<u32> {
        self.entries.get_mut(index).map(|entry| entry.seat)
    }

    /// The number of entries in the front block.
    pub(super) fn block_len(&self) -> usize {
        self.entries.front_len()
    }

    /// Passes the front block on. What chains say of its entries is of no use from here on: their
    /// positions are before the queue's.
    pub(super) fn pass_block(&mut self, to: &mut VecDeque<Entry<I, H>>) {
        self.entries.pass_front(to);
        self.advance(to.len());
        if self.gone > 0 {
            self.gone -= to.iter().filter(|entry| entry.item.is_none()).count();
        }
    }

    /// Whether there may be entries of more than one run.
    pub(super) fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// Some entries were taken out.
    fn advance(&mut self, entries: usize) {
        self.base += entries as u64;
        self.mixed &= self.base < self.end;
    }

    /// The next entry, without a look at its run's chain.
    pub(super) fn pop(&mut self) -> Option<Entry<I, H>> {
        loop {
            let entry = self.entries.pop_front()?;
            self.advance(1);
            if entry.item.is_some() {
                return Some(entry);
            }
            self.gone -= 1;
        }
    }

    /// Takes the token that was just popped out of its run's chain.
    pub(super) fn unlink_first(&mut self, chain: &mut Chain, entry: &Entry<I, H>) {
        if chain.first != self.base - 1 {
            // The chain was begun anew after this token.
            return;
        }
        chain.first = entry.next;
        match self.at(entry.next) {
            Some(next) => next.previous = NONE,
            None => chain.last = NONE,
        }
    }

    /// An entry's item was taken out of the middle.
    pub(super) fn count_gone(&mut self, entries: usize) {
        self.gone += entries;
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Entry<I, H>> {
        self.gone = 0;
        self.base = self.end;
        self.entries.drain().filter(|entry| entry.item.is_some())
    }
}
