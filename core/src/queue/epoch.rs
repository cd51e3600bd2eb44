//! Counts what is open in epochs, so that a flush waits for what came before it and not for what
//! comes after.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::Epoch;

/// Counts open entries by epoch. `G` is released when all entries up to its epoch are closed.
pub(crate) struct EpochCounter<G> {
    /// The number of the first epoch in `epochs`.
    first: Epoch,
    /// The open epochs, oldest first. The last one takes new entries. Empty before the first entry.
    epochs: VecDeque<Count<G>>,
}

struct Count<G> {
    open: usize,
    guards: Vec<G>,
}

impl<G> Count<G> {
    const fn new() -> Self {
        Self { open: 0, guards: Vec::new() }
    }
}

impl<G> EpochCounter<G> {
    pub(crate) const fn new() -> Self {
        Self { first: 0, epochs: VecDeque::new() }
    }

    /// Counts an entry in. Returns its epoch.
    pub(crate) fn open(&mut self) -> Epoch {
        if self.epochs.is_empty() {
            self.epochs.push_back(Count::new());
        }
        let last = self.epochs.len() - 1;
        self.epochs[last].open += 1;
        // At most one epoch a waiting flush, so it fits.
        self.first.wrapping_add(last as Epoch)
    }

    /// Counts an entry of `epoch` out. Guards whose entries are all closed go to `released`.
    pub(crate) fn close(&mut self, epoch: Epoch, released: &mut Vec<G>) {
        let index = epoch.wrapping_sub(self.first) as usize;
        let Some(count) = self.epochs.get_mut(index) else {
            debug_assert!(false, "an entry is closed once");
            return;
        };
        count.open -= 1;
        while let Some(front) = self.epochs.front_mut() {
            if front.open > 0 {
                return;
            }
            released.append(&mut front.guards);
            if self.epochs.len() == 1 {
                return;
            }
            self.epochs.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    /// The number of open entries.
    pub(crate) fn open_count(&self) -> usize {
        self.epochs.iter().map(|count| count.open).sum()
    }

    /// Keeps `guard` until all entries that are open now are closed. Returns it if there are none.
    pub(crate) fn flush(&mut self, guard: G) -> Option<G> {
        if self.epochs.iter().all(|count| count.open == 0) {
            return Some(guard);
        }
        let Some(last) = self.epochs.back_mut() else { return Some(guard) };
        if last.open == 0 {
            // Nothing has come since the flush before this one, so both wait for the same entries.
            let index = self.epochs.len() - 2;
            self.epochs[index].guards.push(guard);
        } else {
            last.guards.push(guard);
            self.epochs.push_back(Count::new());
        }
        None
    }

    /// Lets all flushes go.
    pub(crate) fn release_all(&mut self, released: &mut Vec<G>) {
        for count in &mut self.epochs {
            released.append(&mut count.guards);
        }
    }

    /// Gives back memory that only a burst of flushes needed.
    pub(crate) fn shrink(&mut self) {
        if self.epochs.len() <= 1 {
            self.epochs.shrink_to(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(counter: &mut EpochCounter<char>, epoch: Epoch) -> Vec<char> {
        let mut released = Vec::new();
        counter.close(epoch, &mut released);
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
    fn flushes_without_entries_between_them_wait_for_the_same() {
        let mut counter = EpochCounter::new();
        let epoch = counter.open();
        assert_eq!(counter.flush('a'), None);
        assert_eq!(counter.flush('b'), None);
        assert_eq!(close(&mut counter, epoch), ['a', 'b']);
    }
}
