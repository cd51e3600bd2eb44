//! [`Workers`]: what is in a lane is handled once, by one worker at a time, in order. If no worker
//! comes, it is given up.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use loom::thread;

use crate::model::model;
use crate::runtime::{Fate, Pool};
use crate::sync::BRIEF;
use crate::time;
use crate::util::Mutex;
use crate::workers::{Budget, Serve, Workers};

/// An emitter, and the number of its event.
type Event = (char, usize);

/// A queue, with what core's lanes do to get a worker.
struct Lane {
    workers: Arc<Workers<Lane>>,
    state: Mutex<State>,
    /// How long a call takes.
    call: Duration,
}

struct State {
    queue: VecDeque<Event>,
    /// What the handler has seen. Absent while it is called.
    handler: Option<Vec<Event>>,
    served: bool,
    given_up: Vec<Event>,
}

impl Lane {
    fn new(workers: &Arc<Workers<Self>>, call: Duration) -> Arc<Self> {
        Arc::new(Self {
            workers: workers.clone(),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                handler: Some(Vec::new()),
                served: false,
                given_up: Vec::new(),
            }),
            call,
        })
    }

    fn emit(self: &Arc<Self>, event: Event) {
        let served = self.state.with(|state| {
            state.queue.push_back(event);
            mem::replace(&mut state.served, true)
        });
        if !served {
            self.workers.serve(self.clone());
        }
    }

    /// What was handled and what was given up, when all workers are gone.
    fn outcome(self: &Arc<Self>) -> (Vec<Event>, Vec<Event>) {
        self.state.with(|state| {
            assert!(state.queue.is_empty(), "something is left behind");
            assert!(!state.served, "no worker would come again");
            (state.handler.take().expect("the handler is back"), mem::take(&mut state.given_up))
        })
    }

    /// Nothing was given up, and all was handled in order.
    fn assert_handled(self: &Arc<Self>, emitted: &[Event]) {
        let (handled, given_up) = self.outcome();
        assert_eq!(given_up, []);
        assert_each_once_in_order(&handled, emitted);
    }
}

impl Serve for Lane {
    type Kept = ();

    fn serve(self: &Arc<Self>, (): &mut (), budget: &mut Budget) -> bool {
        let mut handler = self.state.with(|state| state.handler.take());
        assert!(handler.is_some(), "two serve it at the same time");
        loop {
            let over = budget.is_over();
            let next = self.state.with(|state| {
                let next = if over { None } else { state.queue.pop_front() };
                if next.is_none() {
                    state.handler = handler.take();
                    state.served = !state.queue.is_empty();
                }
                next.ok_or(state.served)
            });
            match next {
                Ok(event) => handler.as_mut().unwrap().push(event),
                Err(more) => return more,
            }
            time::pass(self.call);
            budget.count(1);
        }
    }

    fn abandon(&self) {
        self.state.with(|state| {
            state.served = false;
            state.given_up.extend(state.queue.drain(..));
        });
    }

    fn idle(&self) {}
}

/// Each event came out once, and those of one emitter in its order.
fn assert_each_once_in_order(events: &[Event], emitted: &[Event]) {
    let in_order = |events: &[Event]| {
        let mut events = events.to_vec();
        events.sort_by_key(|(emitter, _)| *emitter);
        events
    };
    assert_eq!(in_order(events), in_order(emitted), "of {events:?}");
}

/// So long that a worker's time is over after it.
const LONG: Duration = Duration::from_millis(10);

fn workers(linger: Duration, fates: &[Fate]) -> (Arc<Pool>, Arc<Workers<Lane>>) {
    let runtime = Arc::new(Pool::new(2, linger, fates));
    (runtime.clone(), Workers::new(runtime))
}

/// One thread emits two events and the other one.
fn by_workers_that_linger(linger: Duration) {
    model(2, move || {
        let (runtime, workers) = workers(linger, &[]);
        let lane = Lane::new(&workers, Duration::ZERO);
        let emitter = lane.clone();
        let thread = thread::spawn(move || emitter.emit(('b', 0)));
        lane.emit(('a', 0));
        lane.emit(('a', 1));
        thread.join().unwrap();
        runtime.end();
        lane.assert_handled(&[('a', 0), ('a', 1), ('b', 0)]);
    });
}

/// Fails if a lane is queued twice, or if a worker that leaves counts as one that comes.
#[test]
fn by_workers_that_come_and_go() {
    by_workers_that_linger(Duration::ZERO);
}

/// Fails if a worker stops lingering without a last look, or if it counts as one that lingers after
/// that.
#[test]
fn by_workers_that_linger_briefly() {
    by_workers_that_linger(BRIEF);
}

/// Fails if a lingering worker is not notified, or if it counts as lingering and does not look before
/// it waits: its time is not over by itself here.
#[test]
fn by_a_worker_that_lingers_until_it_is_notified() {
    model(3, || {
        let runtime = Arc::new(Pool::new(1, Duration::MAX, &[]));
        let workers = Workers::new(runtime.clone());
        let lane = Lane::new(&workers, Duration::ZERO);
        lane.emit(('a', 0));
        lane.emit(('a', 1));
        // Ends the worker's time, so that it does not linger for ever.
        let last = Lane::new(&workers, LONG);
        last.emit(('z', 0));
        runtime.end();
        lane.assert_handled(&[('a', 0), ('a', 1)]);
        last.assert_handled(&[('z', 0)]);
    });
}

/// Fails if a worker that has no time left keeps the lane, or gives it back and spawns no other
/// worker.
#[test]
fn by_workers_whose_time_is_over() {
    model(2, || {
        let (runtime, workers) = workers(BRIEF, &[]);
        let lane = Lane::new(&workers, LONG);
        let emitter = lane.clone();
        let thread = thread::spawn(move || emitter.emit(('b', 0)));
        lane.emit(('a', 0));
        thread.join().unwrap();
        runtime.end();
        lane.assert_handled(&[('a', 0), ('b', 0)]);
    });
}

/// Fails if one worker is counted for two lanes, or if one that takes a lane leaves the other without
/// a worker.
#[test]
fn two_at_a_time() {
    model(2, || {
        let (runtime, workers) = workers(BRIEF, &[]);
        let lanes = ['a', 'b'].map(|_| Lane::new(&workers, Duration::ZERO));
        let other = lanes[1].clone();
        let thread = thread::spawn(move || other.emit(('b', 0)));
        lanes[0].emit(('a', 0));
        thread.join().unwrap();
        runtime.end();
        lanes[0].assert_handled(&[('a', 0)]);
        lanes[1].assert_handled(&[('b', 0)]);
    });
}

/// The first worker is dropped. What came before that is given up, and what comes after it has a
/// worker again. Fails if the lane counts as served by a worker that never comes.
fn despite(fate: Fate) {
    model(2, move || {
        let (runtime, workers) = workers(BRIEF, &[fate]);
        let lane = Lane::new(&workers, Duration::ZERO);
        let emitter = lane.clone();
        let thread = thread::spawn(move || emitter.emit(('b', 0)));
        lane.emit(('a', 0));
        thread.join().unwrap();
        runtime.end();
        let (handled, given_up) = lane.outcome();
        assert!(!given_up.is_empty(), "the one that spawned that worker has lost its event");
        assert_each_once_in_order(&[handled, given_up].concat(), &[('a', 0), ('b', 0)]);
    });
}

#[test]
fn despite_a_worker_that_is_refused() {
    despite(Fate::Refuse);
}

#[test]
fn despite_a_worker_that_is_lost() {
    despite(Fate::Lose);
}

/// Fails if a worker that is dropped takes a lane with it that another one is on the way to, or if it
/// leaves one behind.
#[test]
fn two_of_them_despite_a_worker_that_is_lost() {
    model(2, || {
        let (runtime, workers) = workers(BRIEF, &[Fate::Lose]);
        let lanes = ['a', 'b'].map(|_| Lane::new(&workers, Duration::ZERO));
        let other = lanes[1].clone();
        let thread = thread::spawn(move || other.emit(('b', 0)));
        lanes[0].emit(('a', 0));
        thread.join().unwrap();
        runtime.end();
        let given_up = lanes.map(|lane| {
            let (handled, given_up) = lane.outcome();
            assert_eq!(handled.len() + given_up.len(), 1);
            given_up.len()
        });
        assert!(given_up.iter().sum::<usize>() <= 1, "a lane is given up that has a worker");
    });
}
