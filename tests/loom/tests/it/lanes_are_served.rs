//! [`Workers`]: whatever is in a lane is served once, by one job at a time, in order; or it is given up, if no job comes.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::mem;
use core::time::Duration;

use loom::thread;

use crate::model::model;
use crate::runtime::{Fate, Pool, Runtime};
use crate::sync::{BRIEF, Lock};
use crate::time;
use crate::workers::{Serve, Shift, Workers};

/// An emitter, and the how many-th of its events.
type Event = (char, usize);

/// The least that a lane is made of: core's own protocol of who calls for whom, around a queue.
struct Lane {
    workers: Arc<Workers<Lane>>,
    state: Lock<State>,
    /// How long a call takes.
    call: Duration,
}

struct State {
    queue: VecDeque<Event>,
    /// What the handler has seen; absent while it is being called.
    handler: Option<Vec<Event>>,
    served: bool,
    given_up: Vec<Event>,
}

impl Lane {
    fn new(workers: &Arc<Workers<Self>>, call: Duration) -> Arc<Self> {
        Arc::new(Self {
            workers: workers.clone(),
            state: Lock::new(State {
                queue: VecDeque::new(),
                handler: Some(Vec::new()),
                served: false,
                given_up: Vec::new(),
            }),
            call,
        })
    }

    fn emit(self: &Arc<Self>, event: Event) {
        let help = self.state.with(|state| {
            state.queue.push_back(event);
            (!mem::replace(&mut state.served, true)).then(|| self.workers.put_in_line(self.clone()))
        });
        if let Some(help) = help {
            self.workers.answer(help);
        }
    }

    /// What was handled and what was given up, once all is over.
    fn outcome(self: &Arc<Self>) -> (Vec<Event>, Vec<Event>) {
        assert!(!self.workers.claim(self), "nobody serves the lane");
        self.state.with(|state| {
            assert!(state.queue.is_empty(), "something is left behind");
            assert!(!state.served, "nobody will be called for again");
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

    fn serve(self: &Arc<Self>, shift: &mut Shift<()>) -> bool {
        let mut handler = self.state.with(|state| state.handler.take());
        assert!(handler.is_some(), "two serve at the same time");
        loop {
            let over = shift.is_over();
            let next = self.state.with(|state| {
                let next = match over {
                    true => None,
                    false => state.queue.pop_front(),
                };
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
            shift.count();
        }
    }

    fn abandon(self: &Arc<Self>) {
        self.state.with(|state| {
            state.served = false;
            state.given_up.extend(state.queue.drain(..));
        });
    }
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

/// So long that a job's time is over after it.
const LONG: Duration = Duration::from_millis(10);

fn workers(linger: Duration, fates: &[Fate]) -> (Arc<Pool>, Arc<Workers<Lane>>) {
    let runtime = Arc::new(Pool::new(2, linger, fates));
    (runtime.clone(), Workers::new(runtime))
}

/// Breaks where an event is pushed after one has looked whether the lane is served, where a lane is called for twice, or where a job that goes leaves
/// one behind.
#[test]
fn by_jobs_that_come_and_go() {
    model(2, || {
        let (runtime, workers) = workers(Duration::ZERO, &[]);
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

/// Breaks where a job gives up lingering without a last look, where it stays counted as one that lingers, or where one is counted on who has gone.
#[test]
fn by_jobs_that_linger_briefly() {
    model(2, || {
        let (runtime, workers) = workers(BRIEF, &[]);
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

/// Breaks where nobody rings for a job that lingers, or where one counts as lingering that does not look before it sleeps: it never wakes by itself here.
#[test]
fn by_a_job_that_lingers_until_it_is_rung_for() {
    model(3, || {
        let runtime = Arc::new(Pool::new(1, Duration::MAX, &[]));
        let workers = Workers::new(runtime.clone());
        let lane = Lane::new(&workers, Duration::ZERO);
        lane.emit(('a', 0));
        lane.emit(('a', 1));
        // Ends the job's time, so that it does not linger for ever.
        let last = Lane::new(&workers, LONG);
        last.emit(('z', 0));
        runtime.end();
        lane.assert_handled(&[('a', 0), ('a', 1)]);
        last.assert_handled(&[('z', 0)]);
    });
}

/// Breaks where a job that has no time left keeps the lane, gives it back twice, or sends for nobody.
#[test]
fn by_jobs_whose_time_is_over() {
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

/// Breaks where two take the same lane, or where a job that finds it taken believes that there is one for it.
#[test]
fn by_a_helper_and_a_job() {
    model(2, || {
        let (runtime, workers) = workers(BRIEF, &[]);
        let lane = Lane::new(&workers, LONG);
        let helper = lane.clone();
        let thread = thread::spawn(move || _ = helper.workers.help(&helper));
        lane.emit(('a', 0));
        lane.emit(('a', 1));
        workers.help(&lane);
        thread.join().unwrap();
        runtime.end();
        lane.assert_handled(&[('a', 0), ('a', 1)]);
    });
}

/// Breaks where a lane counts as served that nobody can have yet: the only thread that there is waits for what it has put there itself.
#[test]
fn by_a_helper_where_no_job_can_come() {
    model(2, || {
        let runtime = Arc::new(Pool::new(1, BRIEF, &[]));
        let workers = Workers::new(runtime.clone());
        let lane = Lane::new(&workers, Duration::ZERO);
        let helper = lane.clone();
        let job = move || {
            helper.emit(('a', 0));
            helper.workers.help(&helper);
            let handled = |state: &mut State| state.handler.as_ref().is_some_and(|handled| handled.contains(&('a', 0)));
            assert!(helper.state.with(handled), "it would wait for ever");
        };
        assert!(runtime.spawn_blocking_boxed(Box::new(job)).is_ok());
        lane.emit(('b', 0));
        runtime.end();
        lane.assert_handled(&[('a', 0), ('b', 0)]);
    });
}

/// Breaks where one lane's job is counted for both, or where whoever takes one of them leaves the other without anybody.
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

/// The first job is dropped: what came before is given up, and what comes after has a job again. Breaks where the lane counts as served by a job that
/// never comes.
fn despite(fate: fn() -> Fate) {
    model(2, move || {
        let (runtime, workers) = workers(BRIEF, &[fate()]);
        let lane = Lane::new(&workers, Duration::ZERO);
        let emitter = lane.clone();
        let thread = thread::spawn(move || emitter.emit(('b', 0)));
        lane.emit(('a', 0));
        thread.join().unwrap();
        runtime.end();
        let (handled, given_up) = lane.outcome();
        assert!(!given_up.is_empty(), "whoever called for that job has lost its event");
        assert_each_once_in_order(&[handled, given_up].concat(), &[('a', 0), ('b', 0)]);
    });
}

#[test]
fn despite_a_job_that_is_refused() {
    despite(|| Fate::Refuse);
}

#[test]
fn despite_a_job_that_is_lost() {
    despite(|| Fate::Lose);
}

/// Breaks where a job that is dropped takes a lane with it that another one is on the way to, or where it leaves one behind.
#[test]
fn two_of_them_despite_a_job_that_is_lost() {
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
        assert!(
            given_up.iter().sum::<usize>() <= 1,
            "a lane is given up that a job was on the way to"
        );
    });
}
