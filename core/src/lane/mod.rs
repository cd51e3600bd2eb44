//! A handler's work, waiting: where its calls are put in order, and a sync handler's are kept from overlapping.
//!
//! A lane is a queue of runs that have something, served in turn; each run keeps a bounded mailbox for it ([`Mailboxes`]). A sync handler's lane is
//! served by blocking jobs, one at a time ([`Workers`]); an async one's by a task for each run that has something.

mod call;
mod mailboxes;
mod serve;
mod watch;
mod workers;

pub(crate) use call::Call;
pub use mailboxes::{Losses, Overflow};
pub(crate) use workers::Workers;

use alloc::boxed::Box;
use alloc::sync::Arc;

use self::call::part;
use self::mailboxes::{Brought, GivenUp, Limits, Mailboxes, Over, Part};
use self::watch::Watch;
use self::workers::Help;
use crate::context;
use crate::deadline::Deadline;
use crate::envelope::{Envelope, Hold};
use crate::error::FailureCause;
use crate::handler::{CallbackHandler, Delivery, ErasedAsyncHandler, Mode};
use crate::ledger::Ticket;
use crate::registration::Registration;
use crate::runtime::Runtime;
use crate::scope::{Facts, Place};
use crate::sync::Lock;

pub(crate) type BoxHandler = Box<dyn CallbackHandler>;

/// The calls of one handler.
pub(crate) struct Lane {
    mode: Mode,
    /// Whether the starts of runs may wait here for others to end.
    makes_starts_wait: bool,
    deadline: Option<Box<Deadline>>,
    server: Server,
    state: Lock<State>,
}

/// Who makes the calls.
enum Server {
    /// Blocking jobs, one at a time; the handler is in the state.
    Blocking(Arc<Workers<Registration>>),
    /// A task for each run that has something.
    Tasks(Box<Tasks>),
}

struct Tasks {
    runtime: Arc<dyn Runtime>,
    handler: Box<dyn ErasedAsyncHandler>,
}

/// What is left to do after an event was brought, outside all locks.
#[must_use = "the event is queued, but nobody is called for"]
pub(crate) struct FollowUp<'a> {
    lane: &'a Lane,
    owner: &'a Arc<Registration>,
    envelope: &'a Arc<Envelope>,
    index: usize,
    brought: Brought<Call>,
    over: Option<Over<Call>>,
    help: Help,
}

struct State {
    boxes: Mailboxes<Call>,
    /// A sync handler; absent while it is being called, so that no second call can begin, and no lock is held.
    handler: Option<BoxHandler>,
    /// Whether somebody serves the lane, or is on the way.
    served: bool,
    /// Present once a call may take too long.
    watch: Option<Box<Watch>>,
}

impl FollowUp<'_> {
    pub(crate) fn finish(self) {
        let Self { lane, owner, .. } = self;
        lane.answer(self.help);
        if let Some(over) = self.over {
            lane.close(owner, over);
        }
        lane.settle_brought(owner, self.envelope, self.index, self.brought);
    }
}

impl Lane {
    /// The lane of a sync handler.
    pub(crate) fn blocking(
        handler: BoxHandler,
        delivery: Delivery,
        deadline: Option<Deadline>,
        workers: &Arc<Workers<Registration>>,
    ) -> Self {
        Self::new(Some(handler), delivery, deadline, Server::Blocking(workers.clone()))
    }

    /// The lane of an async handler.
    pub(crate) fn tasks(
        handler: Box<dyn ErasedAsyncHandler>,
        delivery: Delivery,
        deadline: Option<Deadline>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        Self::new(None, delivery, deadline, Server::Tasks(Box::new(Tasks { runtime, handler })))
    }

    fn new(handler: Option<BoxHandler>, delivery: Delivery, deadline: Option<Deadline>, server: Server) -> Self {
        let limits = Limits {
            capacity: delivery.capacity(),
            open_runs: delivery.open_runs(),
            overflow: delivery.overflow(),
            waits: delivery.waits_for_room(),
            refuses: delivery.is_background(),
            serial: matches!(server, Server::Blocking(_)),
        };
        let state = State {
            boxes: Mailboxes::new(limits),
            handler,
            served: false,
            watch: None,
        };
        Self {
            mode: delivery.mode(),
            makes_starts_wait: !delivery.is_background() && delivery.is_limited(),
            deadline: deadline.map(Box::new),
            server,
            state: Lock::new(state),
        }
    }

    /// Queues an event for the handler, or finds that it cannot. Whatever the emitter has to wait for holds its envelope.
    ///
    /// It calls nobody: what comes back does.
    pub(crate) fn bring<'a>(
        &'a self,
        owner: &'a Arc<Registration>,
        envelope: &'a Arc<Envelope>,
        index: usize,
        ticket: Option<Ticket>,
    ) -> Option<FollowUp<'a>> {
        let facts = &envelope.facts;
        if matches!(facts.places.get(index), Place::Refused | Place::Left) {
            return None;
        }
        let part = part(envelope);
        let may_wait = !envelope.emitter.waits_for(owner.id, facts);
        let answers = may_wait
            && match self.mode {
                Mode::Awaited => true,
                Mode::Pipelined => part == Part::End,
                Mode::Background => false,
            };
        let served_here = self.is_its_emitters() && context::is_helped(&envelope.emitter);
        // Counted before it can be seen.
        let call = Call::new(owner, envelope, index, answers, ticket);
        let (brought, over, help) = self.state.with(|state| {
            // Asked once more, where nobody else changes it: a time-out may refuse the run's start meanwhile, and give its mailbox to another one.
            let brought = match facts.places.get(index) {
                Place::At(key) => state.boxes.bring(key, call, may_wait),
                Place::None => state
                    .boxes
                    .bring_first(call, may_wait, || envelope.emitter.is_in_a_call() || is_inside_an_open_one(facts)),
                Place::Refused | Place::Left => Brought::TooLate(call),
            };
            let over = match facts.places.get(index) {
                Place::At(key) if part == Part::End => {
                    facts.places.leave(index);
                    (!matches!(brought, Brought::Queued { .. })).then(|| state.boxes.retire(key, None))
                }
                _ => None,
            };
            let help = match brought {
                Brought::Queued { serve: Some(_), .. } if served_here => self.leave_for_its_emitter(owner, state),
                Brought::Queued { serve: Some(_), .. } => self.call_for(owner, state),
                _ => Help::None,
            };
            (brought, over, help)
        });
        Some(FollowUp {
            lane: self,
            owner,
            envelope,
            index,
            brought,
            over,
            help,
        })
    }

    /// Whether the starts of runs may wait here for others to end.
    pub(crate) fn makes_starts_wait(&self) -> bool {
        self.makes_starts_wait
    }

    fn settle_brought(&self, owner: &Arc<Registration>, envelope: &Envelope, index: usize, brought: Brought<Call>) {
        let fail = |call: Call, cause: FailureCause| {
            let failure = owner.fail(cause, envelope);
            // Nobody waits for it, but the emitter is to know.
            envelope.note(index, owner, &failure);
            call.settle(Some(failure));
        };
        match brought {
            Brought::Queued { serve, displaced, joined } => {
                if let (Some(key), Server::Tasks(_)) = (serve, &self.server) {
                    self.spawn_server(owner, key);
                }
                if let Some(displaced) = displaced {
                    owner.counters.dropped();
                    displaced.settle(None);
                }
                joined.into_iter().for_each(|emptied| join(owner, emptied));
            }
            Brought::Joined(emptied) => join(owner, emptied),
            Brought::Parked => {}
            Brought::TooLate(call) => call.settle(None),
            Brought::Dropped(call) => {
                owner.counters.dropped();
                call.settle(None);
            }
            Brought::Refused(call) => {
                owner.counters.refused();
                call.settle(None);
            }
            Brought::NoRoom(call) => fail(call, FailureCause::WouldDeadlock),
            Brought::Busy(call) => fail(call, FailureCause::Busy),
        }
    }

    /// No more events of that run will come; an end that the handler does not want waits until the run's others are handled, if it is pipelined.
    pub(crate) fn retire(&self, owner: &Arc<Registration>, facts: &Facts, index: usize, end: Option<&Arc<Envelope>>) {
        let waits = |end: &&Arc<Envelope>| self.is_pipelined() && !end.emitter.waits_for(owner.id, &end.facts);
        let mut hold = end.filter(waits).map(Hold::new);
        let (over, help) = self.state.with(|state| {
            let Place::At(key) = facts.places.leave(index) else {
                return (None, Help::None);
            };
            let over = state.boxes.retire(key, hold.take());
            let help = match over.serve.is_empty() {
                true => Help::None,
                false => self.call_for(owner, state),
            };
            (Some(over), help)
        });
        drop(hold);
        self.answer(help);
        if let Some(over) = over {
            self.close(owner, over);
        }
    }

    /// As [`call_for`](Self::call_for), for an emitter that makes the calls itself.
    fn leave_for_its_emitter(&self, owner: &Arc<Registration>, state: &mut State) -> Help {
        if let (Server::Blocking(workers), false) = (&self.server, core::mem::replace(&mut state.served, true)) {
            workers.leave_in_line(owner.clone());
        }
        Help::None
    }

    /// Whether an emitter may wait for it, with an event or with the end.
    #[cfg(feature = "std")]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.mode != Mode::Background
    }

    /// Whether an emitter that blocks its thread may make the calls there: one that waits for them, and is to be freed by no time-out.
    pub(crate) fn is_its_emitters(&self) -> bool {
        self.mode == Mode::Awaited && self.deadline.is_none() && matches!(self.server, Server::Blocking(_))
    }

    /// Whether ends wait for what is queued.
    pub(crate) fn is_pipelined(&self) -> bool {
        self.mode == Mode::Pipelined
    }

    /// What is left to do after a call, outside the lock.
    fn close(&self, owner: &Arc<Registration>, over: Over<Call>) {
        if let Server::Tasks(_) = &self.server {
            for key in over.serve {
                self.spawn_server(owner, key);
            }
        }
        drop(over.freed);
    }

    /// Has a serial lane wait for somebody who serves it, if it does not, and is not being served; it counts as served from here on.
    fn call_for(&self, owner: &Arc<Registration>, state: &mut State) -> Help {
        match &self.server {
            Server::Blocking(workers) if !core::mem::replace(&mut state.served, true) => workers.put_in_line(owner.clone()),
            Server::Blocking(_) | Server::Tasks(_) => Help::None,
        }
    }

    fn answer(&self, help: Help) {
        if let Server::Blocking(workers) = &self.server {
            workers.answer(help);
        }
    }

    /// Lets go of all that waits: nobody will serve it.
    pub(crate) fn abandon(&self) {
        let given_up = self.state.with(|state| {
            state.served = false;
            state.boxes.abandon()
        });
        // The calls report themselves.
        drop(given_up);
    }

    /// How many runs have a mailbox here.
    pub(crate) fn open_runs(&self) -> usize {
        self.state.with(|state| state.boxes.open_runs())
    }
}

/// What is in a token was joined to that of an older one.
fn join(owner: &Registration, emptied: Call) {
    owner.counters.joined();
    emptied.settle(None);
}

/// Whether the run is inside an open one: that may keep others waiting until it ends, which it does not do before this one has.
fn is_inside_an_open_one(facts: &Facts) -> bool {
    let parent = |run: &Facts| run.setup.parent.0.clone();
    core::iter::successors(parent(facts), |run| parent(run)).any(|run| !run.has_ended())
}

/// Has everything that was given up fail: what was running because of `running`, what waited as the handler is busy.
fn settle_given_up(owner: &Arc<Registration>, given_up: GivenUp<Call>, running: FailureCause) {
    if let Some(call) = given_up.running {
        let failure = owner.fail(running, call.envelope());
        call.settle(Some(failure));
    }
    for call in given_up.waiting {
        let failure = owner.fail(FailureCause::Busy, call.envelope());
        call.settle(Some(failure));
    }
    drop(given_up.freed);
}
