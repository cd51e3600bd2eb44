//! The epochs of a [`LaneQueue`] under its lane's mutex: a flush ends when the events that came before
//! it are handled, and not sooner.

use alloc::sync::Arc;
use alloc::vec::Vec;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::handler::Overflow;
use crate::model::{model, wait_for};
use crate::queue::{Batch, Item, LaneQueue, Limits, Part, Released};
use crate::util::{Mutex, WaitGroup, WaitGuard};

/// An event. The model needs no more of it than what it is to its run.
pub(crate) struct Event(pub(crate) Part);

impl Item for Event {
    fn part(&self) -> Part {
        self.0
    }

    fn accepts(&self, _: &Self) -> bool {
        false
    }

    fn coalesce(&mut self, _: Self) {}
}

pub(crate) type Queue = LaneQueue<Event, (), WaitGuard>;

/// A lane in which each trace that has something gets a server of its own. A turn is one event.
pub(crate) struct Lane {
    pub(crate) queue: Mutex<Queue>,
    /// Stored without an order of its own: the lane has to give it one.
    pub(crate) handled: AtomicUsize,
}

impl Lane {
    pub(crate) fn new(capacity: u32) -> Arc<Self> {
        let limits =
            Limits { capacity, open_traces: usize::MAX, overflow: Overflow::Wait, waits: true };
        let queue = Mutex::new(LaneQueue::new(limits));
        Arc::new(Self { queue, handled: AtomicUsize::new(0) })
    }

    /// Starts a run in a trace of its own. Returns its seat.
    pub(crate) fn admit(&self, trace: usize) -> usize {
        self.queue.with(|queue| queue.admit(trace, false, ())).expect("there is room for it")
    }

    /// Queues an event. Returns its trace if that has no server. The emitter of `group` may have to
    /// wait for room, and waits for the answer if `awaited`.
    pub(crate) fn push(
        &self,
        seat: usize,
        part: Part,
        group: &Arc<WaitGroup>,
        awaited: bool,
    ) -> Option<usize> {
        let answer = awaited.then(|| WaitGuard::new(group));
        let wait = Some(|| Some(WaitGuard::new(group)));
        let pushed = self.queue.with(|queue| {
            let answer = (answer, u64::MAX);
            queue.push(seat, (Event(part), part), answer, wait)
        });
        if let Some(rare) = pushed.rare {
            assert!(rare.lost.is_none(), "there is room for it, or its emitter waits");
            drop(rare.released);
        }
        pushed.ready
    }

    /// Handles the events of a trace until it has none.
    pub(crate) fn serve(&self, trace: usize) {
        self.serve_with(trace, || ());
    }

    /// Handles the events of a trace until it has none. Each call of the handler is one of `call`.
    pub(crate) fn serve_with(&self, trace: usize, mut call: impl FnMut()) {
        let mut batch = Batch::default();
        let mut answers: Vec<WaitGuard> = Vec::new();
        for turn in 0.. {
            let mut released = Released::default();
            let more = self.queue.with(|queue| {
                queue.finish(&mut batch, &mut released);
                if turn > 0 && !queue.end_turn(trace) {
                    return false;
                }
                queue.take(trace, 1, &mut batch, &mut released.holds);
                true
            });
            drop(released);
            // After the events were counted out, so that an emitter finds nothing pending.
            answers.clear();
            if !more {
                return;
            }
            while let Some(taken) = batch.next() {
                answers.extend(taken.entry.answer.take());
                call();
                self.handled.fetch_add(1, Ordering::Relaxed);
            }
            batch.clear();
        }
    }

    fn flush(&self) -> Arc<WaitGroup> {
        let group = Arc::new(WaitGroup::new());
        let guard = WaitGuard::new(&group);
        let done = self.queue.with(|queue| queue.flush(guard));
        drop(done);
        group
    }

    pub(crate) fn assert_idle(&self) {
        self.queue.with(|queue| {
            assert_eq!((queue.open_events(), queue.open_runs()), (0, 0), "something is left");
        });
    }
}

/// Fails if the last event of an epoch is counted out without its flush, if a flush is kept that has
/// nothing to wait for, or if a guard is lost.
#[test]
fn while_events_come_and_go() {
    model(3, || {
        let lane = Lane::new(8);
        let emitter = lane.clone();
        let thread = thread::spawn(move || {
            let (seat, group) = (emitter.admit(1), Arc::new(WaitGroup::new()));
            for part in [Part::Start, Part::End] {
                if let Some(trace) = emitter.push(seat, part, &group, false) {
                    emitter.serve(trace);
                }
            }
        });
        wait_for(&lane.flush());
        thread.join().unwrap();
        lane.assert_idle();
        wait_for(&lane.flush());
    });
}

/// Fails if a flush takes an epoch for closed in which an event is open, or if epochs are released in
/// another order.
#[test]
fn when_what_came_before_is_handled() {
    model(3, || {
        let lane = Lane::new(8);
        let group = Arc::new(WaitGroup::new());
        let servers = [0, 1].map(|trace| {
            let seat = lane.admit(trace);
            let ready = lane.push(seat, Part::Only, &group, false);
            // The two events are in epochs of their own.
            drop(lane.flush());
            let server = lane.clone();
            thread::spawn(move || {
                server.serve(ready.unwrap());
            })
        });
        wait_for(&lane.flush());
        assert_eq!(lane.handled.load(Ordering::Relaxed), 2);
        for server in servers {
            server.join().unwrap();
        }
        lane.assert_idle();
    });
}

/// Fails if the first event of an epoch that is handled ends the epoch.
#[test]
fn when_both_events_of_an_epoch_are_handled() {
    model(3, || {
        let lane = Lane::new(8);
        let group = Arc::new(WaitGroup::new());
        let ready = [0, 1].map(|trace| {
            let seat = lane.admit(trace);
            lane.push(seat, Part::Only, &group, false).unwrap()
        });
        let flush = lane.flush();
        let servers = ready.map(|trace| {
            let server = lane.clone();
            thread::spawn(move || server.serve(trace))
        });
        wait_for(&flush);
        assert_eq!(lane.handled.load(Ordering::Relaxed), 2);
        for server in servers {
            server.join().unwrap();
        }
        lane.assert_idle();
    });
}

/// Fails if a flush waits for an event that comes after it, or if the event before it counts for the
/// later epoch.
#[test]
fn whatever_comes_after() {
    model(3, || {
        let lane = Lane::new(8);
        let group = Arc::new(WaitGroup::new());
        let seats = [0, 1].map(|trace| lane.admit(trace));
        let before = lane.push(seats[0], Part::Only, &group, false).unwrap();
        let flush = lane.flush();
        let after = lane.push(seats[1], Part::Only, &group, false).unwrap();
        let server = lane.clone();
        let thread = thread::spawn(move || server.serve(before));
        // The event after it is served when it is over.
        wait_for(&flush);
        assert_eq!(lane.handled.load(Ordering::Relaxed), 1);
        lane.serve(after);
        thread.join().unwrap();
        lane.assert_idle();
    });
}

/// Fails if the end of an epoch wakes one of those who wait for it, or if a flush that is given up
/// takes another one with it.
#[test]
fn each_of_several() {
    model(3, || {
        let lane = Lane::new(8);
        let group = Arc::new(WaitGroup::new());
        let seat = lane.admit(0);
        let ready = lane.push(seat, Part::Only, &group, false).unwrap();
        let (given_up, other) = (lane.flush(), lane.flush());
        let waiter = thread::spawn(move || wait_for(&other));
        let server = lane.clone();
        let server = thread::spawn(move || server.serve(ready));
        drop(given_up);
        wait_for(&lane.flush());
        waiter.join().unwrap();
        server.join().unwrap();
        lane.assert_idle();
    });
}
