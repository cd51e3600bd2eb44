//! Which lanes wait for a worker, and how many workers there are for them.

#![cfg_attr(
    not(feature = "std"),
    expect(dead_code, reason = "without threads no worker waits for a lane")
)]

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::ControlFlow;

/// Lanes that wait, and the workers that serve them. `L` is a lane.
pub(crate) struct Schedule<L> {
    /// Lanes that have something and that no worker serves.
    waiting: VecDeque<L>,
    /// Workers that sleep until the next lane.
    idle: usize,
    /// Workers that were given to the executor and have not begun, or that look again.
    coming: usize,
    /// How many workers go to sleep without looking again.
    sleepy: usize,
}

/// How many workers do not look again after a lane has waited for one that did.
const SLEEPY: usize = 1024;

/// What has to be done for the lanes that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lane waits, and no worker comes"]
pub(crate) enum Wake {
    /// Every waiting lane has a worker on its way.
    None,
    /// Wake one worker that sleeps.
    Idle,
    /// Spawn one worker. It counts as coming already.
    Spawn,
}

impl<L> Schedule<L> {
    pub(crate) const fn new() -> Self {
        Self { waiting: VecDeque::new(), idle: 0, coming: 0, sleepy: 0 }
    }

    /// Queues a lane.
    pub(crate) fn enqueue(&mut self, lane: L) -> Wake {
        self.push(lane);
        self.wake()
    }

    /// Queues a lane. The caller asks for [`wake`](Self::wake) before it releases its lock.
    pub(crate) fn push(&mut self, lane: L) {
        self.waiting.push_back(lane);
    }

    /// What has to be done for the lanes that wait.
    pub(crate) fn wake(&mut self) -> Wake {
        if self.unserved() > 0 {
            self.coming += 1;
            Wake::Spawn
        } else if self.idle > 0 && !self.waiting.is_empty() {
            Wake::Idle
        } else {
            Wake::None
        }
    }

    /// The number of lanes that wait and have no worker on its way.
    fn unserved(&self) -> usize {
        self.waiting.len().saturating_sub(self.idle + self.coming)
    }

    /// A worker has begun. Returns its first lane.
    pub(crate) fn arrive(&mut self) -> Option<L> {
        self.coming -= 1;
        self.waiting.pop_front()
    }

    /// A spawned worker was dropped before it began. Returns the lanes that have no worker now.
    pub(crate) fn refuse(&mut self) -> Vec<L> {
        self.coming -= 1;
        let unserved = self.unserved();
        self.waiting.drain(..unserved).collect()
    }

    /// The next lane that waits. If there is none, a worker that `lingers` has to look again.
    pub(crate) fn next(&mut self, lingers: bool) -> Option<L> {
        let found = self.waiting.pop_front();
        self.coming += usize::from(found.is_none() && lingers);
        found
    }

    /// A worker looks again. `patient` says that it would do so once more. `crowded` says that
    /// others had its processor for long. If a lane waited meanwhile, the next workers sleep at
    /// once, because a thread that wakes gets a processor before threads that work. Breaks with a
    /// lane, or with `None` if the worker counts as idle from here on.
    pub(crate) fn look_again(&mut self, patient: bool, crowded: bool) -> ControlFlow<Option<L>> {
        let found = self.waiting.pop_front();
        if found.is_none() && patient && !crowded && self.sleepy == 0 {
            return ControlFlow::Continue(());
        }
        self.coming -= 1;
        if found.is_none() {
            self.sleepy = self.sleepy.saturating_sub(1);
            self.idle += 1;
        } else if crowded {
            self.sleepy = SLEEPY;
        }
        ControlFlow::Break(found)
    }

    /// An idle worker looks for a lane. `last` says that it goes in any case.
    pub(crate) fn look(&mut self, last: bool) -> Option<L> {
        let found = self.waiting.pop_front();
        self.idle -= usize::from(found.is_some() || last);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLEEP: ControlFlow<Option<char>> = ControlFlow::Break(None);

    #[test]
    fn each_waiting_lane_gets_a_worker() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.enqueue('a'), Wake::Spawn);
        assert_eq!(schedule.enqueue('b'), Wake::Spawn);
        assert_eq!(schedule.arrive(), Some('a'));
        assert_eq!(schedule.arrive(), Some('b'));
    }

    #[test]
    fn a_lingering_worker_is_woken_instead_of_a_new_one() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.enqueue('a'), Wake::Spawn);
        assert_eq!(schedule.arrive(), Some('a'));
        assert_eq!(schedule.next(true), None);
        assert_eq!(schedule.look_again(false, false), SLEEP);
        assert_eq!(schedule.enqueue('b'), Wake::Idle);
        assert_eq!(schedule.enqueue('c'), Wake::Spawn);
        assert_eq!(schedule.look(false), Some('b'));
        assert_eq!(schedule.arrive(), Some('c'));
    }

    #[test]
    fn a_worker_that_looks_again_needs_no_wake() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.next(true), None);
        assert_eq!(schedule.look_again(true, false), ControlFlow::Continue(()));
        assert_eq!(schedule.enqueue('a'), Wake::None);
        assert_eq!(schedule.enqueue('b'), Wake::Spawn);
        assert_eq!(schedule.look_again(true, false), ControlFlow::Break(Some('a')));
        assert_eq!(schedule.arrive(), Some('b'));
    }

    #[test]
    fn workers_sleep_at_once_where_others_need_the_processor() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.next(true), None);
        assert_eq!(schedule.enqueue('a'), Wake::None);
        assert_eq!(schedule.look_again(true, true), ControlFlow::Break(Some('a')));
        for _ in 0..SLEEPY {
            assert_eq!(schedule.next(true), None);
            assert_eq!(schedule.look_again(true, false), SLEEP);
            assert_eq!(schedule.look(true), None);
        }
        assert_eq!(schedule.next(true), None);
        assert_eq!(schedule.look_again(true, false), ControlFlow::Continue(()));
    }

    #[test]
    fn a_refused_worker_leaves_only_its_share_unserved() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.enqueue('a'), Wake::Spawn);
        assert_eq!(schedule.enqueue('b'), Wake::Spawn);
        assert_eq!(schedule.refuse(), ['a']);
        assert_eq!(schedule.arrive(), Some('b'));
    }

    #[test]
    fn a_worker_that_stops_lingering_is_not_counted_on() {
        let mut schedule = Schedule::new();
        assert_eq!(schedule.next(true), None);
        assert_eq!(schedule.look_again(false, false), SLEEP);
        assert_eq!(schedule.look(true), None);
        assert_eq!(schedule.enqueue('a'), Wake::Spawn);
    }
}
