//! [`Mailboxes`] in a lane: whoever has to wait for room, for another run to end, or for its event to be handled, is let go.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use loom::thread;
use system::sync::Mutex;

use crate::latch::Latch;
use crate::mailboxes::{Brought, GivenUp, Item, Limits, Mailboxes, Overflow, Part, Turn};
use crate::model::{model, wait_for};
use crate::runtime::{Fate, Pool};
use crate::sync::{BRIEF, Lock};
use crate::workers::{Serve, Shift, Workers};

/// Where a run has its mailbox.
#[derive(Clone, Copy)]
enum Place {
    None,
    At(usize),
    /// The handler hears nothing of it any more.
    Gone,
}

struct Run {
    name: char,
    place: Mutex<Place>,
}

impl Run {
    fn place(&self) -> Place {
        *self.place.lock().unwrap()
    }

    fn put(&self, place: Place) {
        *self.place.lock().unwrap() = place;
    }
}

/// An event on its way, and what its emitter waits for.
struct Envelope {
    run: Arc<Run>,
    part: Part,
    latch: Latch,
}

struct Hold(Arc<Envelope>);

impl Hold {
    fn new(envelope: &Arc<Envelope>) -> Self {
        envelope.latch.hold();
        Self(envelope.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.latch.release();
    }
}

/// An event in a lane. It reports itself once it is let go of.
struct Call {
    envelope: Arc<Envelope>,
    /// Whether it was handled.
    handled: bool,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    /// Where its emitter waits until it is handled.
    _answer: Option<Hold>,
}

/// The run, the event's part in it, and whether it was handled.
type Outcome = (char, Part, bool);

impl Drop for Call {
    fn drop(&mut self) {
        let outcome = (self.envelope.run.name, self.envelope.part, self.handled);
        self.outcomes.lock().unwrap().push(outcome);
    }
}

impl Item for Call {
    type Hold = Hold;

    fn part(&self) -> Part {
        self.envelope.part
    }

    fn hold_emitter(&self) -> Hold {
        Hold::new(&self.envelope)
    }

    fn admitted(&self, key: usize) {
        self.envelope.run.put(Place::At(key));
    }

    fn refused(&self) {
        self.envelope.run.put(Place::Gone);
    }

    fn absorb(&mut self, newer: Self) -> Result<Self, Self> {
        Err(newer)
    }
}

struct Lane {
    workers: Arc<Workers<Lane>>,
    state: Lock<State>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    /// Whether emitters wait until their events are handled.
    awaited: bool,
}

struct State {
    boxes: Mailboxes<Call>,
    /// Absent while it is being called.
    handler: Option<Handler>,
    served: bool,
    /// The run whose call is out.
    out: Option<usize>,
}

struct Handler;

impl Lane {
    fn new(workers: &Arc<Workers<Self>>, open_runs: usize, awaited: bool) -> Arc<Self> {
        let limits = Limits {
            capacity: 1,
            open_runs,
            overflow: Overflow::Wait,
            waits: true,
            refuses: false,
            serial: true,
        };
        Arc::new(Self {
            workers: workers.clone(),
            state: Lock::new(State {
                boxes: Mailboxes::new(limits),
                handler: Some(Handler),
                served: false,
                out: None,
            }),
            outcomes: Arc::default(),
            awaited,
        })
    }

    /// Emits all events of a run, and waits each time for as long as it has to.
    fn emit(self: &Arc<Self>, name: char, parts: &[Part]) {
        let place = Mutex::new(Place::None);
        let run = Arc::new(Run { name, place });
        for part in parts {
            let envelope = Arc::new(Envelope {
                run: run.clone(),
                part: *part,
                latch: Latch::new(),
            });
            self.bring(&envelope);
            wait_for(&envelope.latch);
        }
    }

    fn bring(self: &Arc<Self>, envelope: &Arc<Envelope>) {
        let (run, part) = (&envelope.run, envelope.part);
        let call = Call {
            envelope: envelope.clone(),
            handled: false,
            outcomes: self.outcomes.clone(),
            _answer: self.awaited.then(|| Hold::new(envelope)),
        };
        let (brought, over, help) = self.state.with(|state| {
            let brought = match run.place() {
                Place::At(key) => state.boxes.bring(key, call, true),
                Place::None => state.boxes.bring_first(call, true, || false),
                Place::Gone => Brought::TooLate(call),
            };
            let over = match run.place() {
                Place::At(key) if part == Part::End => {
                    run.put(Place::Gone);
                    (!matches!(brought, Brought::Queued { .. })).then(|| state.boxes.retire(key, None))
                }
                _ => None,
            };
            let serve = matches!(brought, Brought::Queued { serve: Some(_), .. }) && !mem::replace(&mut state.served, true);
            (brought, over, serve.then(|| self.workers.put_in_line(self.clone())))
        });
        if let Some(help) = help {
            self.workers.answer(help);
        }
        drop(over);
        drop(brought);
    }

    /// Gives up on the call that is out, as a time-out does.
    fn give_up(&self) {
        let given_up = self.state.with(|state| {
            let key = state.out.take()?;
            Some(state.boxes.give_up(key))
        });
        drop(given_up);
    }

    /// What became of each event, once all is over.
    fn outcomes(&self) -> Vec<Outcome> {
        self.state.with(|state| {
            assert!(state.handler.is_some(), "the handler is back");
            assert!(!state.served && !state.boxes.has_ready(), "something is left behind");
            assert_eq!(state.boxes.open_runs(), 0, "a mailbox is left behind");
        });
        mem::take(&mut *self.outcomes.lock().unwrap())
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
                let turn = if over { None } else { state.boxes.take_next() };
                let Some(Turn { key, freed, .. }) = turn else {
                    state.handler = handler.take();
                    state.served = state.boxes.has_ready();
                    return Err(state.served);
                };
                state.out = Some(key);
                Ok((key, freed))
            });
            let (key, freed) = match next {
                Ok(next) => next,
                Err(more) => return more,
            };
            drop(freed);
            let over = self.state.with(|state| {
                state.out = None;
                state.boxes.finish(key)
            });
            if let Some(mut call) = over.item {
                call.handled = true;
            }
            drop(over.freed);
            shift.count();
        }
    }

    fn abandon(self: &Arc<Self>) {
        let given_up: GivenUp<Call> = self.state.with(|state| {
            state.served = false;
            state.boxes.abandon()
        });
        drop(given_up);
    }
}

fn workers(threads: usize, fates: &[Fate]) -> (Arc<Pool>, Arc<Workers<Lane>>) {
    let runtime = Arc::new(Pool::new(threads, BRIEF, fates));
    (runtime.clone(), Workers::new(runtime))
}

/// Of one run, in order: what became of its events.
fn of_run(outcomes: &[Outcome], run: char) -> Vec<(Part, bool)> {
    let of_run = outcomes.iter().filter(|(name, ..)| *name == run);
    of_run.map(|(_, part, handled)| (*part, *handled)).collect()
}

/// Breaks where the room of an event that was taken is not given on, where a hold is given back before it is counted, or where a run whose turn is over
/// is not put in line again.
#[test]
fn who_waits_for_room() {
    model(2, || {
        let (runtime, workers) = workers(2, &[]);
        let lane = Lane::new(&workers, 8, false);
        let parts = [Part::Start, Part::Other, Part::Token, Part::End];
        lane.emit('a', &parts);
        runtime.end();
        assert_eq!(of_run(&lane.outcomes(), 'a'), parts.map(|part| (part, true)));
    });
}

/// Breaks where the end of a run leaves no mailbox to those that wait for one, or lets them in and tells nobody.
#[test]
fn who_waits_for_another_run_to_end() {
    model(2, || {
        let (runtime, workers) = workers(2, &[]);
        let lane = Lane::new(&workers, 1, false);
        let parts = [Part::Start, Part::End];
        let other = lane.clone();
        let thread = thread::spawn(move || other.emit('b', &parts));
        lane.emit('a', &parts);
        thread.join().unwrap();
        runtime.end();
        let outcomes = lane.outcomes();
        assert_eq!(of_run(&outcomes, 'a'), parts.map(|part| (part, true)));
        assert_eq!(of_run(&outcomes, 'b'), parts.map(|part| (part, true)));
    });
}

/// Breaks where a call is let go of without its answer, or where the latch forgets one of two who hold.
#[test]
fn who_waits_for_its_call() {
    model(2, || {
        let (runtime, workers) = workers(1, &[]);
        let lane = Lane::new(&workers, 1, true);
        let other = lane.clone();
        let thread = thread::spawn(move || other.emit('b', &[Part::Only]));
        lane.emit('a', &[Part::Start, Part::End]);
        thread.join().unwrap();
        runtime.end();
        let outcomes = lane.outcomes();
        assert_eq!(of_run(&outcomes, 'a'), [(Part::Start, true), (Part::End, true)]);
        assert_eq!(of_run(&outcomes, 'b'), [(Part::Only, true)]);
    });
}

/// Breaks where a lane that nobody serves keeps those who wait for room in it, or for another run to end.
#[test]
fn though_a_job_is_lost() {
    model(2, || {
        let (runtime, workers) = workers(2, &[Fate::Lose]);
        let lane = Lane::new(&workers, 1, false);
        let other = lane.clone();
        let thread = thread::spawn(move || other.emit('b', &[Part::Only]));
        let parts = [Part::Start, Part::Other, Part::Token, Part::End];
        lane.emit('a', &parts);
        thread.join().unwrap();
        runtime.end();
        let outcomes = lane.outcomes();
        assert_eq!(of_run(&outcomes, 'b').len(), 1);
        let (mut of_a, mut all) = (of_run(&outcomes, 'a'), parts.map(|part| (part, true)).to_vec());
        assert_eq!(of_a.len(), all.len(), "each is let go of once");
        // No handler hears of a run whose start was given up.
        let heard = of_a.iter().any(|(_, handled)| *handled);
        assert!(!heard || of_a.contains(&(Part::Start, true)));
        of_a.retain(|(_, handled)| *handled);
        all.retain(|event| of_a.contains(event));
        assert_eq!(of_a, all, "what is handled is in order");
    });
}

/// A time-out gives up on a call while that comes back, and on all that waits behind it. Breaks where both let go of it, or neither does, or where the lane
/// takes nothing in any more.
#[test]
fn though_a_call_is_given_up() {
    model(2, || {
        let (runtime, workers) = workers(1, &[]);
        let lane = Lane::new(&workers, 1, false);
        let watch = lane.clone();
        let thread = thread::spawn(move || watch.give_up());
        let parts = [Part::Start, Part::Other, Part::Token, Part::End];
        lane.emit('a', &parts);
        thread.join().unwrap();
        runtime.rest();
        assert_eq!(of_run(&lane.outcomes(), 'a').len(), parts.len(), "each is let go of once");
        lane.emit('b', &[Part::Only]);
        runtime.end();
        assert_eq!(of_run(&lane.outcomes(), 'b'), [(Part::Only, true)]);
    });
}
