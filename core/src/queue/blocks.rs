//! A queue in blocks. The front block is passed on whole, so that taking many entries costs no more
//! than taking one.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// How many entries a block has at most.
const BLOCK: usize = 64;

/// First in, first out. Every block but the first and the last is full.
pub(super) struct Blocks<T> {
    /// Empty only if the queue is.
    front: VecDeque<T>,
    rest: VecDeque<VecDeque<T>>,
    /// Empty blocks, to be used again.
    spare: Vec<VecDeque<T>>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Self { front: VecDeque::new(), rest: VecDeque::new(), spare: Vec::new() }
    }
}

impl<T> Blocks<T> {
    /// How many entries there is memory for.
    pub(super) fn capacity(&self) -> usize {
        let others = self.rest.iter().chain(&self.spare);
        self.front.capacity() + others.map(VecDeque::capacity).sum::<usize>()
    }

    /// The number of entries in the front block.
    pub(super) fn front_len(&self) -> usize {
        self.front.len()
    }

    #[inline]
    pub(super) fn push_back(&mut self, entry: T) {
        let last = self.rest.back_mut().unwrap_or(&mut self.front);
        if last.len() < BLOCK {
            last.push_back(entry);
            return;
        }
        let mut block = self.spare.pop().unwrap_or_default();
        block.push_back(entry);
        self.rest.push_back(block);
    }

    pub(super) fn pop_front(&mut self) -> Option<T> {
        let entry = self.front.pop_front();
        self.advance();
        entry
    }

    /// Passes the front block on, for an empty one.
    pub(super) fn pass_front(&mut self, to: &mut VecDeque<T>) {
        core::mem::swap(&mut self.front, to);
        self.advance();
    }

    fn advance(&mut self) {
        if !self.front.is_empty() {
            return;
        }
        if let Some(next) = self.rest.pop_front() {
            self.spare.push(core::mem::replace(&mut self.front, next));
        }
    }

    pub(super) fn back(&self) -> Option<&T> {
        self.rest.back().unwrap_or(&self.front).back()
    }

    pub(super) fn pop_back(&mut self) -> Option<T> {
        let Some(last) = self.rest.back_mut() else { return self.front.pop_back() };
        let entry = last.pop_back();
        if last.is_empty() {
            self.spare.extend(self.rest.pop_back());
        }
        entry
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(self.front.len()) {
            None => self.front.get_mut(index),
            Some(index) => self.rest.get_mut(index / BLOCK)?.get_mut(index % BLOCK),
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.front.iter_mut().chain(self.rest.iter_mut().flatten())
    }

    /// Takes all entries out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let all = core::mem::take(self);
        all.front.into_iter().chain(all.rest.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_their_index_while_blocks_come_and_go() {
        let mut queue = Blocks::default();
        let (mut first, mut next) = (0, 0);
        let mut batch = VecDeque::new();
        for round in 1..200 {
            for _ in 0..round % 97 {
                queue.push_back(next);
                next += 1;
            }
            if round % 3 == 0 {
                queue.pass_front(&mut batch);
                assert!(batch.iter().copied().eq(first..first + batch.len()), "in order");
                first += batch.len();
                batch.clear();
            } else if let Some(popped) = queue.pop_front() {
                assert_eq!(popped, first);
                first += 1;
            }
            assert_eq!(queue.iter_mut().count(), next - first);
            for index in [0, 1, 63, 64, 65, 200] {
                let expected = (first + index < next).then_some(first + index);
                assert_eq!(queue.get_mut(index).copied(), expected);
            }
            assert_eq!(queue.back().copied(), (first < next).then(|| next - 1));
        }
        while next - first > 100 {
            next -= 1;
            assert_eq!(queue.pop_back(), Some(next));
        }
        assert!(queue.iter_mut().map(|entry| *entry).eq(first..next));
        assert!(queue.drain().eq(first..next));
        assert!(queue.back().is_none());
    }

    #[test]
    fn a_steady_stream_uses_its_blocks_again() {
        let mut queue = Blocks::default();
        let mut batch = VecDeque::new();
        (0..256).for_each(|entry| queue.push_back(entry));
        let memory = queue.capacity();
        for _ in 0..100 {
            queue.pass_front(&mut batch);
            batch.drain(..).for_each(|entry| queue.push_back(entry));
        }
        assert!(queue.capacity() + batch.capacity() <= memory + BLOCK);
    }
}
