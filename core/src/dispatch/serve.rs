//! Making a lane's calls.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::ask::{Asked, Timeout, ask_async};
use super::context::{FrameKind, Place, Scoped, Swapped};
use super::lane::{BoxSyncHandler, Lane, LaneBatch, LaneReleased, LaneState, Mailbox, Server};
use super::seated::Seated;
use super::watch::{Running, micros};
use super::workers::{Budget, Serve};
use super::{Answer, Call, LaneItem};
use crate::handler::{CallbackHandler, ErasedAsyncHandler, Mode};
use crate::model::context::{EventContext, Losses};
use crate::queue::{Item, Taken};
use crate::util::{WaitGuard, catch_unwind, drop_quietly, yield_now};

type LaneTaken<'a> = Taken<'a, LaneItem, Arc<Mailbox>, WaitGuard>;

/// So many events at a time are few: then a worker pauses before it looks for more.
const FEW: usize = 16;

/// How long it pauses, in turns of a spin loop: one to three microseconds.
const PAUSE: usize = 64;

/// How many calls a task makes before it yields.
const CALLS_PER_POLL: usize = 64;

fn losses(taken: &LaneTaken<'_>) -> Losses {
    Losses {
        dropped: taken.entry.dropped as usize,
        refused_runs: taken.refused,
        coalesced: taken.entry.pieces as usize - 1,
    }
}

/// A sync handler that was taken out of its lane to be called. It goes back on drop.
struct Checkout<'a> {
    lane: &'a Lane,
    handler: Option<BoxSyncHandler>,
    batch: &'a mut LaneBatch,
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        // Only if something panicked that is not the handler: else it is back already.
        let Some(handler) = self.handler.take() else { return };
        while let Some(Taken { shared, item, entry, .. }) = self.batch.next() {
            drop_quietly((shared, item));
            drop(entry.answer.take());
        }
        let mut released = LaneReleased::default();
        self.lane.state.with(|state| {
            state.handler = Some(handler);
            state.running = None;
            state.finish(self.batch, 0, &mut released);
        });
        Lane::let_go(&mut released);
    }
}

enum Step {
    /// Make the calls of the events that were taken. Whether a watch has to be spawned.
    Calls { watch: bool },
    /// Nothing is left.
    Idle,
    /// There is more, for another worker.
    More,
}

/// What a worker keeps from one lane to the next, so that serving allocates nothing.
#[derive(Default)]
pub(crate) struct Hand {
    seated: Option<Seated>,
    /// Empty buffers.
    released: LaneReleased,
    batch: LaneBatch,
    answers: Vec<WaitGuard>,
}

impl Serve for Lane {
    type Kept = Hand;

    fn serve(self: &Arc<Self>, hand: &mut Hand, budget: &mut Budget) -> bool {
        let Hand { seated, released, batch, answers } = hand;
        let mut out = Checkout { lane: self, handler: None, batch };
        let (mut trace, mut handled, mut in_a_row) = (None, 0, false);
        budget.begin_lane();
        loop {
            let now = if self.timeout.is_some() { self.now() } else { 0 };
            let step = self.state.with(|state| {
                state.running = None;
                state.finish(out.batch, core::mem::take(&mut handled), released);
                if out.handler.is_none() {
                    out.handler = state.handler.take();
                }
                let hand = (&mut *out.batch, &mut *released);
                let step = self.step(state, budget, &mut trace, hand, now);
                if !matches!(step, Step::Calls { .. }) {
                    state.handler = out.handler.take();
                }
                step
            });
            Self::let_go(released);
            // After the events were counted out, so that an emitter finds nothing pending.
            answers.drain(..).for_each(drop::<WaitGuard>);
            match step {
                Step::Idle => return false,
                Step::More => return true,
                Step::Calls { watch: true } => self.spawn_watch(),
                Step::Calls { watch: false } => {}
            }
            let Some(handler) = &mut out.handler else { return false };
            let (mut calls, most) = (0, self.most(budget));
            let mut mailbox = None;
            while let Some(mut taken) = out.batch.next() {
                calls += 1;
                // An event without a mailbox is of the same run as the one before.
                if let Some(next) = taken.shared.take() {
                    mailbox = Some(next);
                }
                let Some(mailbox) = &mailbox else { continue };
                handled += self.call(&mut **handler, taken, mailbox, seated, answers);
            }
            out.batch.clear();
            budget.count(calls);
            // Events come one by one. Without a pause, the emitter and this worker would fight
            // over the lock for each of them. No emitter waits: not for an answer, nor for room.
            let is_few = calls < FEW && calls < most && self.capacity > 2 * FEW;
            if core::mem::replace(&mut in_a_row, true) && is_few && answers.is_empty() {
                (0..PAUSE).for_each(|_| core::hint::spin_loop());
            }
        }
    }

    fn abandon(&self) {
        self.abandon_waiting(None);
    }

    fn idle(&self) {
        self.state.with(|state| state.shrink());
    }
}

impl Lane {
    /// What comes next. Events that were taken go to `hand`.
    fn step(
        &self,
        state: &mut LaneState,
        budget: &mut Budget,
        trace: &mut Option<usize>,
        (batch, released): (&mut LaneBatch, &mut LaneReleased),
        now: u64,
    ) -> Step {
        let over = budget.is_over();
        if let Some(served) = *trace {
            let more = state.queue().end_turn(served);
            if !more || over || budget.is_turn_over() {
                *trace = None;
                if more {
                    state.queue().schedule(served);
                }
            }
        }
        if over && state.queue().has_ready() {
            return Step::More;
        }
        loop {
            let served = match *trace {
                Some(served) => served,
                None => {
                    let Some(next) = state.queue().next_trace() else {
                        state.served = false;
                        return Step::Idle;
                    };
                    budget.begin_turn();
                    next
                }
            };
            state.queue().take(served, self.most(budget), batch, &mut released.holds);
            if batch.is_empty() {
                *trace = None;
                state.queue().end_turn(served);
                continue;
            }
            *trace = Some(served);
            return Step::Calls { watch: self.begin(state, batch, now) };
        }
    }

    /// How many events to take at a time.
    fn most(&self, budget: &Budget) -> usize {
        // An awaited event is answered at once, and a call that can time out is seen alone.
        let alone = self.timeout.is_some() || self.mode == Mode::Awaited;
        if alone { 1 } else { budget.batch() }
    }

    /// Notes when the call that begins is due. Whether a watch has to be spawned.
    fn begin(&self, state: &mut LaneState, batch: &mut LaneBatch, now: u64) -> bool {
        let Some(timeout) = self.timeout else { return false };
        let Some((mailbox, entry)) = batch.first() else { return false };
        let Some(kind) = entry.item.as_ref().map(LaneItem::kind) else { return false };
        let due = match entry.due {
            u64::MAX => now.saturating_add(micros(timeout)),
            due => due,
        };
        state.running = Some(Running {
            mailbox: mailbox.clone(),
            kind,
            answer: entry.answer.take(),
            due,
            expired: entry.expired,
        });
        !core::mem::replace(&mut state.watched, true)
    }

    /// Makes a sync handler's call. Returns 1 if the event was handled and counts as such.
    #[inline]
    fn call(
        &self,
        handler: &mut (dyn CallbackHandler + Send),
        taken: LaneTaken<'_>,
        mailbox: &Arc<Mailbox>,
        kept: &mut Option<Seated>,
        answers: &mut Vec<WaitGuard>,
    ) -> usize {
        answers.extend(taken.entry.answer.take());
        // A place elsewhere serves one event, and nothing of a run is kept beyond its end.
        let elsewhere = taken.item.emitter().is_some();
        let keeps = !elsewhere && !taken.item.part().is_last();
        let is_its = |seated: &Seated| Arc::ptr_eq(mailbox, &seated.mailbox);
        if elsewhere || !kept.as_ref().is_some_and(is_its) {
            drop_quietly(kept.replace(Seated::new(mailbox.clone(), &taken.item)));
        }
        let Some(Seated { place, cx, .. }) = kept else { return 0 };
        cx.losses = losses(&taken);
        // The event is dropped inside, as its payload is the user's.
        let answer = catch_unwind(|| {
            let _place = Swapped::new(place);
            taken.item.with(cx, |event, cx| self.meta.ask_sync(handler, event, cx))
        });
        // A panic here is one of the event's drop: the handler has answered before it.
        let answer = answer.unwrap_or(Answer::Handled);
        let mut counts = !taken.entry.expired;
        if self.timeout.is_some() {
            let running = self.state.with(|state| state.running.take());
            // Given up on: its failure has been counted, and its emitter has gone on.
            counts &= running.is_some();
            answers.extend(running.and_then(|running| running.answer));
        }
        let handled = counts && matches!(answer, Answer::Handled);
        match counts {
            true => self.meta.conclude(answer, &mailbox.node),
            false => drop_quietly(answer),
        }
        // Code that has taken the place along is in no call from here on.
        if !(keeps && place.as_ref().is_some_and(Place::is_unshared)) {
            drop_quietly(kept.take());
        }
        usize::from(handled)
    }

    /// Has a task make the calls of a trace.
    pub(super) fn spawn_server(self: &Arc<Self>, trace: usize) {
        let (lane, batch) = (self.clone(), LaneBatch::default());
        let server = TraceServer { lane, trace, batch, handled: 0, done: false };
        // On an error the task is dropped, which abandons the trace.
        let _ = catch_unwind(|| self.runtime.spawn_boxed(Box::pin(server.run())));
    }
}

/// A task that makes the calls of one trace. Dropped before it is done, it abandons what waits.
struct TraceServer {
    lane: Arc<Lane>,
    trace: usize,
    batch: LaneBatch,
    /// How many events were handled and are not counted yet.
    handled: usize,
    done: bool,
}

impl TraceServer {
    async fn run(mut self) {
        let lane = self.lane.clone();
        let Server::Tasks(handler) = &lane.server else { return };
        for calls in 1.. {
            let mut released = LaneReleased::default();
            let batch = &mut self.batch;
            let handled = core::mem::take(&mut self.handled);
            let more = lane.state.with(|state| {
                state.finish(batch, handled, &mut released);
                state.queue().take(self.trace, 1, batch, &mut released.holds);
                !batch.is_empty() || state.queue().end_turn(self.trace)
            });
            Lane::let_go(&mut released);
            let Some(taken) = batch.next() else {
                if more {
                    continue;
                }
                self.done = true;
                lane.state.with(|state| state.shrink());
                return;
            };
            let (answer, handled) = lane.call_async(&**handler, taken).await;
            self.handled += handled;
            self.batch.clear();
            if let Some(answer) = answer {
                // Counted out before the emitter goes on, so that it finds nothing pending.
                let mut released = LaneReleased::default();
                let handled = core::mem::take(&mut self.handled);
                lane.state.with(|state| state.finish(&mut self.batch, handled, &mut released));
                Lane::let_go(&mut released);
                drop(answer);
            }
            if calls % CALLS_PER_POLL == 0 {
                yield_now().await;
            }
        }
    }
}

impl Drop for TraceServer {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut released = LaneReleased::default();
        let handled = self.handled;
        self.lane.state.with(|state| state.finish(&mut self.batch, handled, &mut released));
        Lane::let_go(&mut released);
        self.lane.abandon_waiting(Some(self.trace));
    }
}

impl Lane {
    /// Makes an async handler's call. Returns the answer that its emitter waits for, and how many
    /// events were handled.
    async fn call_async(
        &self,
        handler: &dyn ErasedAsyncHandler,
        mut taken: LaneTaken<'_>,
    ) -> (Option<WaitGuard>, usize) {
        let Some(mailbox) = taken.shared.take() else { return (None, 0) };
        let emitter = taken.item.emitter().unwrap_or(&mailbox.emitter);
        let place = Place::in_call(emitter, &mailbox.node, FrameKind::Task);
        let mut cx = EventContext::new(mailbox.node.info.clone());
        cx.losses = losses(&taken);
        let (answer, expired, due) =
            (taken.entry.answer.take(), taken.entry.expired, taken.entry.due);
        let envelope = taken.item.into_envelope();
        envelope.describe(&mut cx);
        let timeout = self.timeout.map(|after| Timeout {
            after,
            left: match due {
                u64::MAX => after,
                due => Duration::from_micros(due.saturating_sub(self.now())),
            },
            runtime: &*self.runtime,
        });
        let call = Call::new(&self.meta, &mailbox.node, envelope.event.kind());
        let asked = Asked { meta: &self.meta, handler, event: &envelope.event, cx: &cx };
        let outcome = Scoped::new(ask_async(asked, timeout), Some(place.clone())).await;
        place.end_call();
        let handled = match expired {
            true => {
                drop_quietly(outcome);
                call.settle(Answer::Unhandled)
            }
            false => call.settle(outcome),
        };
        drop_quietly(envelope);
        (answer, usize::from(handled))
    }
}
