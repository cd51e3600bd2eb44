//! Counts what is open in epochs, so that a flush waits for what came before it and not for what
//! comes after.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Epoch;

/// Counts open entries by epoch. `G` is released when all entries up to its epoch are closed.
pub(crate) struct EpochCounter<G> {
    /// The number of the first epoch in `earlier`, or of the last epoch if there is none.
    first: Epoch,
    /// The epochs that flushes wait for, oldest first.
    earlier: VecDeque<Count<G>>,
    /// The open entries of the last epoch, which takes new ones.
    last: usize,
    /// Released when no entry is open.
    drained: Vec<G>,
}

struct Count<G> {
    open: usize,
    guards: Vec<G>,
}

impl<G> EpochCounter<G> {
    pub(crate) const fn new() -> Self {
        Self { first: 0, earlier: VecDeque::new(), last: 0, drained: Vec::new() }
    }

    /// Counts an entry in. Returns its epoch.
    pub(crate) fn open(&mut self) -> Epoch {
        self.last += 1;
        // At most one epoch a waiting flush, so it fits.
        self.first.wrapping_add(self.earlier.len() as Epoch)
    }

    /// Counts entries of `epoch` out. Guards whose entries are all closed go to `released`.
    pub(crate) fn close(&mut self, epoch: Epoch, entries: usize, released: &mut Vec<G>) {
        let index = epoch.wrapping_sub(self.first) as usize;
        debug_assert!(index <= self.earlier.len(), "an entry is closed once");
        match self.earlier.get_mut(index) {
            Some(count) => count.open -= entries,
            None => self.last -= entries,
        }
        while let Some(front) = self.earlier.front_mut().filter(|front| front.open == 0) {
            released.append(&mut front.guards);
            self.earlier.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        if self.last == 0 && self.earlier.is_empty() {
            released.append(&mut self.drained);
        }
    }

    /// The number of open entries.
    pub(crate) fn open_count(&self) -> usize {
        self.last + self.earlier.iter().map(|count| count.open).sum::<usize>()
    }

    /// Keeps `guard` until all entries that are open now are closed. Returns it if there are none.
    pub(crate) fn flush(&mut self, guard: G) -> Option<G> {
        if self.last > 0 {
            let open = core::mem::take(&mut self.last);
            self.earlier.push_back(Count { open, guards: Vec::from([guard]) });
            return None;
        }
        // Nothing has come since the flush before this one, so both wait for the same entries.
        let Some(earlier) = self.earlier.back_mut() else { return Some(guard) };
        earlier.guards.push(guard);
        None
    }

    /// Keeps `guard` until no entry is open. Returns it if none is open now.
    pub(crate) fn drain(&mut self, guard: G) -> Option<G> {
        if self.open_count() == 0 {
            return Some(guard);
        }
        self.drained.push(guard);
        None
    }

    /// Lets all flushes go.
    pub(crate) fn release_all(&mut self, released: &mut Vec<G>) {
        for count in &mut self.earlier {
            released.append(&mut count.guards);
        }
    }

    /// Gives back memory that only a burst of flushes needed.
    pub(crate) fn shrink(&mut self) {
        if self.earlier.is_empty() {
            self.earlier = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(counter: &mut EpochCounter<char>, epoch: Epoch) -> Vec<char> {
        let mut released = Vec::new();
        counter.close(epoch, 1, &mut released);
        released
    }

    #[test]
    fn a_flush_with_nothing_open_is_done_at_once() {
        let mut counter = EpochCounter::new();
        assert_eq!(counter.flush('a'), Some('a'));
        let epoch = counter.open();
        assert!(close(&mut counter, epoch).is_empty());
        assert_eq!(counter.flush('b'), Some('b'));
    }

    #[test]
    fn a_flush_does_not_wait_for_later_entries() {
        let mut counter = EpochCounter::new();
        let before = counter.open();
        assert_eq!(counter.flush('a'), None);
        let after = counter.open();
        assert_ne!(before, after);
        assert_eq!(close(&mut counter, before), ['a']);
        assert_eq!(counter.open_count(), 1);
        assert!(close(&mut counter, after).is_empty());
    }

    #[test]
    fn a_flush_waits_for_entries_of_earlier_epochs() {
        let mut counter = EpochCounter::new();
        let first = counter.open();
        assert_eq!(counter.flush('a'), None);
        let second = counter.open();
        assert_eq!(counter.flush('b'), None);
        assert!(close(&mut counter, second).is_empty());
        assert_eq!(close(&mut counter, first), ['a', 'b']);
    }

    #[test]
    fn a_drain_waits_for_later_entries_and_outlasts_a_release() {
        let mut counter = EpochCounter::new();
        assert_eq!(counter.drain('a'), Some('a'));
        let before = counter.open();
        assert_eq!((counter.drain('a'), counter.flush('b')), (None, None));
        let after = counter.open();
        let mut released = Vec::new();
        counter.release_all(&mut released);
        assert_eq!(released, ['b']);
        assert!(close(&mut counter, before).is_empty());
        assert_eq!(close(&mut counter, after), ['a']);
    }

    #[test]
    fn flushes_without_entries_between_them_wait_for_the_same() {
        let mut counter = EpochCounter::new();
        let epoch = counter.open();
        assert_eq!(counter.flush('a'), None);
        assert_eq!(counter.flush('b'), None);
        assert_eq!(close(&mut counter, epoch), ['a', 'b']);
    }
}
