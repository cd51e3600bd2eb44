//! Making a lane's calls.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::Poll;

use super::call::{Errand, part};
use super::mailboxes::{Over, Part, Turn};
use super::workers::{Serve, Shift};
use super::{BoxHandler, Call, Lane, Server, State};
use crate::contain::contained;
use crate::context::{self, Busy, CallOver, Current, InCurrentRun};
use crate::deadline::Deadline;
use crate::envelope::{Envelope, Hold};
use crate::registration::{Answer, HandlerId, Registration};
use crate::scope::Facts;

/// How many calls a task makes before it lets others on its thread go on.
const CALLS_PER_POLL: usize = 64;

impl Serve for Registration {
    type Kept = Inside;

    fn serve(self: &Arc<Self>, shift: &mut Shift<Inside>) -> bool {
        self.lane().is_some_and(|lane| lane.serve(self, shift))
    }

    fn abandon(self: &Arc<Self>) {
        if let Some(lane) = self.lane() {
            lane.abandon();
        }
    }
}

/// What a serial lane does next.
enum Step {
    Call {
        key: usize,
        errand: Errand,
        /// An emitter that there is room for now.
        freed: Option<Hold>,
    },
    /// Nothing is left.
    Idle,
    /// There is more, for another shift.
    More,
}

impl State {
    /// The next call; where there is none, the handler goes back to its place.
    fn step(&mut self, handler: &mut Option<BoxHandler>, over: bool) -> Step {
        if over && self.boxes.has_ready() {
            self.handler = handler.take();
            return Step::More;
        }
        let turn = self.boxes.take_next();
        let errand = turn
            .as_ref()
            .and_then(|turn| Some(self.boxes.running(turn.key)?.errand(turn.losses)));
        match (turn, errand) {
            (Some(Turn { key, freed, .. }), Some(errand)) => Step::Call { key, errand, freed },
            _ => {
                self.handler = handler.take();
                self.served = false;
                Step::Idle
            }
        }
    }
}

impl Lane {
    /// Makes calls on this thread, run by run in turn; whether there are more to make.
    fn serve(&self, owner: &Arc<Registration>, shift: &mut Shift<Inside>) -> bool {
        let mut out = Out {
            lane: self,
            handler: self.state.with(|state| state.handler.take()),
            key: None,
            ahead: None,
        };
        loop {
            let step = out.ahead.take().unwrap_or_else(|| self.step(owner, &mut out.handler, shift));
            let (key, errand, freed) = match step {
                Step::Idle => return false,
                Step::More => return true,
                Step::Call { key, errand, freed } => (key, errand, freed),
            };
            drop(freed);
            out.key = Some(key);
            let answer = out.call(owner, errand, &mut shift.kept);
            out.key = None;
            shift.count();
            let shift_over = shift.is_over();
            let over = self.state.with(|state| {
                if let Some(watch) = &mut state.watch {
                    watch.end();
                }
                let over = state.boxes.finish(key);
                // What comes next waits for the report of this one: where its time counts, it is not taken yet.
                out.ahead = self.deadline.is_none().then(|| state.step(&mut out.handler, shift_over));
                over
            });
            self.conclude(owner, over, answer);
        }
    }

    /// What comes next; its time counts from now on.
    fn step(&self, owner: &Arc<Registration>, handler: &mut Option<BoxHandler>, shift: &Shift<Inside>) -> Step {
        let shift_over = shift.is_over();
        let due = self.deadline.as_deref().map(Deadline::due);
        let (step, watch) = self.state.with(|state| {
            let step = state.step(handler, shift_over);
            let watch = match (&step, due) {
                (Step::Call { key, .. }, Some(due)) => state.watch.get_or_insert_default().begin(*key, due),
                _ => false,
            };
            (step, watch)
        });
        if watch {
            self.watch_over(owner);
        }
        step
    }

    /// A call is over: tells whoever waits for it, unless it was given up on meanwhile.
    fn conclude(&self, owner: &Arc<Registration>, mut over: Over<Call>, answer: Answer) {
        if let Some(call) = over.item.take() {
            let failure = owner.conclude(answer, call.envelope());
            call.settle(failure);
        }
        self.close(owner, over);
    }

    /// Serves the lane on this thread, if it waits for somebody who does. Only where blocking is no harm. Whether there is more to do.
    pub(crate) fn help(&self, owner: &Arc<Registration>) -> bool {
        match &self.server {
            Server::Blocking(workers) => workers.help(owner),
            Server::Tasks(_) => false,
        }
    }

    /// Has a task make the calls of that run.
    pub(super) fn spawn_server(&self, owner: &Arc<Registration>, key: usize) {
        let Server::Tasks(tasks) = &self.server else { return };
        let server = RunServer {
            owner: owner.clone(),
            key,
            done: false,
        };
        // On an error the task is dropped, and with it the calls that wait, which report themselves.
        let _ = contained(|| tasks.runtime.spawn_boxed(Box::pin(server.serve())));
    }

    async fn call_async(&self, owner: &Registration, mut errand: Errand) -> Answer {
        let Server::Tasks(tasks) = &self.server else {
            return Answer::Unhandled;
        };
        let own = errand.own_event();
        let event = own.as_ref().unwrap_or(&errand.envelope.event);
        let busy = Busy::InThisRun(owner.id);
        let current = errand.envelope.emitter.in_call(&errand.envelope.facts, Some(busy));
        let over = CallOver(current.clone());
        let call = owner.ask_async(&*tasks.handler, event, errand.envelope.run(), self.deadline.as_deref());
        let answer = InCurrentRun::new(call, current).await;
        drop(over);
        answer
    }
}

/// A sync handler that was taken out of its lane to be called; it goes back on drop.
struct Out<'a> {
    lane: &'a Lane,
    handler: Option<BoxHandler>,
    /// The run whose event it is handling.
    key: Option<usize>,
    /// What it does next, where that is known.
    ahead: Option<Step>,
}

/// Where a handler is called, for one event after the other of a run that was emitted from the same place.
pub(crate) struct Inside {
    handler: HandlerId,
    run: Arc<Facts>,
    emitter: Current,
    current: Current,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.current.call_is_over();
    }
}

impl Out<'_> {
    fn call(&mut self, owner: &Registration, mut errand: Errand, last: &mut Option<Inside>) -> Answer {
        let Some(handler) = &mut self.handler else {
            return Answer::Unhandled;
        };
        let own = errand.own_event();
        let event = own.as_ref().unwrap_or(&errand.envelope.event);
        let envelope = &errand.envelope;
        let known = last.take().filter(|inside| inside.is_for(envelope, owner));
        let mut inside = known.unwrap_or_else(|| Inside::new(envelope, owner));
        let serving = context::enter_serving(&mut inside.current, owner.id);
        let answer = owner.ask_sync(&mut **handler, event, envelope.run());
        drop(serving);
        // Nothing of a run is kept beyond its end; and where code goes on that took its place along, that is in no call from here on.
        if inside.current.is_ours() && part(envelope) != Part::End {
            *last = Some(inside);
        }
        answer
    }
}

impl Inside {
    fn new(envelope: &Envelope, owner: &Registration) -> Self {
        let busy = Busy::Everywhere(owner.id);
        Self {
            handler: owner.id,
            run: envelope.facts.clone(),
            emitter: envelope.emitter.clone(),
            current: envelope.emitter.in_call(&envelope.facts, Some(busy)),
        }
    }

    fn is_for(&self, envelope: &Envelope, owner: &Registration) -> bool {
        self.handler == owner.id && Arc::ptr_eq(&self.run, &envelope.facts) && self.emitter.is(&envelope.emitter)
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        // Only where something panicked that is not the handler: else both are back already.
        let (Some(handler), lane) = (self.handler.take(), self.lane) else {
            return;
        };
        let ahead = match self.ahead.take() {
            Some(Step::Call { key, errand, freed }) => Some((key, errand, freed)),
            _ => None,
        };
        let keys = [self.key.take(), ahead.as_ref().map(|(key, ..)| *key)];
        let _over = lane.state.with(|state| {
            state.handler = Some(handler);
            keys.map(|key| key.map(|key| state.boxes.finish(key)))
        });
    }
}

/// A task that makes the calls of one run. Dropped before it is done, it lets go of all that waits of that.
struct RunServer {
    owner: Arc<Registration>,
    key: usize,
    done: bool,
}

impl RunServer {
    async fn serve(mut self) {
        let owner = self.owner.clone();
        let Some(lane) = owner.lane() else { return };
        for calls in 1.. {
            let key = self.key;
            let errand = lane.state.with(|state| {
                let turn = state.boxes.take(key)?;
                let errand = state.boxes.running(key)?.errand(turn.losses);
                Some((errand, turn.freed))
            });
            let Some((errand, freed)) = errand else { break };
            drop(freed);
            let answer = lane.call_async(&owner, errand).await;
            let over = lane.state.with(|state| state.boxes.finish(key));
            self.done = !over.again;
            lane.conclude(&owner, over, answer);
            if self.done {
                return;
            }
            if calls % CALLS_PER_POLL == 0 {
                yield_now().await;
            }
        }
        self.done = true;
    }
}

impl Drop for RunServer {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        if let Some(lane) = self.owner.lane() {
            let given_up = lane.state.with(|state| state.boxes.abandon_run(self.key));
            // The calls report themselves.
            drop(given_up);
        }
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
