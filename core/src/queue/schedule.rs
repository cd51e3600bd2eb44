//! Which lanes wait for a worker, and how many workers there are for them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Lanes that wait, and the workers that serve them. `L` is a lane.
pub(crate) struct Schedule<L> {
    /// Lanes that have something and that no worker serves.
    waiting: VecDeque<L>,
    /// Workers that linger for the next lane.
    idle: usize,
    /// Workers that were given to the executor and have not begun.
    coming: usize,
}

/// What has to be done for the lanes that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a lane waits, and no worker comes"]
pub(crate) enum Wake {
    /// Every waiting lane has a worker on its way.
    None,
    /// Wake one worker that lingers.
    Idle,
    /// Spawn one worker. It counts as coming already.
    Spawn,
}

impl<L> Schedule<L> {
    pub(crate) const fn new() -> Self {
        Self { waiting: VecDeque::new(), idle: 0, coming: 0 }
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

    /// The next lane that waits. If there is none, a worker that `lingers` begins to do so.
    pub(crate) fn next(&mut self, lingers: bool) -> Option<L> {
        let found = self.waiting.pop_front();
        self.idle += usize::from(found.is_none() && lingers);
        found
    }

    #[cfg_attr(
        not(feature = "std"),
        expect(dead_code, reason = "without threads no worker lingers")
    )]
    /// A lingering worker looks for a lane. `last` says that it stops lingering in any case.
    pub(crate) fn look(&mut self, last: bool) -> Option<L> {
        let found = self.waiting.pop_front();
        self.idle -= usize::from(found.is_some() || last);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(schedule.enqueue('b'), Wake::Idle);
        assert_eq!(schedule.enqueue('c'), Wake::Spawn);
        assert_eq!(schedule.look(false), Some('b'));
        assert_eq!(schedule.arrive(), Some('c'));
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
        let mut schedule: Schedule<char> = Schedule::new();
        assert_eq!(schedule.next(true), None);
        assert_eq!(schedule.look(true), None);
        assert_eq!(schedule.enqueue('a'), Wake::Spawn);
    }
}
