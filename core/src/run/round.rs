//! An accepted event and the async handlers that are polled in place.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use futures_util::future::join_all;
use pin_project_lite::pin_project;

use super::setup::Setup;
use crate::dispatch::{
    Answer, Asked, Call, HandlerMeta, Registered, RunNode, Target, Timeout, ask_async, count, go_on,
};
use crate::handler::{ErasedAsyncHandler, FirstPoll, HandlerFuture};
use crate::model::context::EventContext;
use crate::model::error::{FailureCause, HandlerResult};
use crate::model::event::{Event, EventKind};
use crate::util::catch_unwind;

/// An accepted event, as handlers get it.
pub(super) struct Accepted {
    pub(super) node: Arc<RunNode>,
    pub(super) setup: Arc<Setup>,
    pub(super) event: Event,
    pub(super) kind: EventKind,
    pub(super) cx: EventContext,
}

/// Events that were handled on the emitter's task and are not counted yet.
pub(super) struct Tally {
    /// By handler.
    handled: Box<[usize]>,
    /// Those that every async handler has handled at its first poll.
    by_all: usize,
    /// The kinds that every async handler has handled before, as bits. There is nothing to learn.
    known: u32,
}

impl Tally {
    pub(super) fn new(handlers: usize) -> Self {
        Self { handled: (0..handlers).map(|_| 0).collect(), by_all: 0, known: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, handler: usize, handled: bool) {
        if let Some(count) = self.handled.get_mut(handler) {
            *count += usize::from(handled);
        }
    }

    /// Adds the counts to those of the handlers.
    pub(super) fn add_to(&mut self, setup: &Setup) {
        let by_all = core::mem::take(&mut self.by_all);
        for (number, _) in &setup.in_place {
            if let Some(count) = self.handled.get_mut(*number) {
                *count += by_all;
            }
        }
        for (handler, handled) in setup.handlers().zip(&mut self.handled) {
            count(&handler.meta.counters.handled, core::mem::take(handled));
        }
    }
}

/// Where a round of first polls stops.
#[derive(Clone, Copy)]
enum Stop {
    /// Every handler has answered.
    Done,
    /// The handler has to wait. Its call stays in its place.
    Pending,
    /// The answer is another than that of a handler that has handled the kind before.
    Answered,
}

/// A round of first polls: each async handler once, one after the other, in one place.
struct Round<'r, 'a, 'task> {
    at: &'a Accepted,
    place: Pin<&'r mut Option<HandlerFuture<'a>>>,
    task: &'r mut Context<'task>,
    tally: &'r mut Tally,
    /// Every handler has handled events of this kind: they are counted for all at once.
    known: bool,
    /// Every handler asked so far has handled events of this kind.
    all_known: bool,
    /// The number of the handler that is asked.
    next: usize,
    answer: Option<HandlerResult>,
}

impl Round<'_, '_, '_> {
    /// Polls the handlers from the next one on.
    #[inline(always)]
    fn ask(&mut self) -> Stop {
        let Self { at, place, task, tally, all_known, next, answer, .. } = self;
        let (at, all_are_known) = (*at, self.known);
        for (number, handler) in at.setup.in_place.get(*next..).unwrap_or_default() {
            let Target::Async { handler: target, .. } = &handler.target else { break };
            // A kind that it has handled is wanted, and there is nothing to learn.
            let known = all_are_known || handler.meta.has_handled(at.kind);
            if known || handler.meta.wants(at.kind) {
                match target.ask(&at.event, &at.cx, place.as_mut(), task, answer) {
                    FirstPoll::Handled if known => {}
                    FirstPoll::Handled | FirstPoll::Answered => return Stop::Answered,
                    FirstPoll::Pending => return Stop::Pending,
                }
                if !all_are_known {
                    tally.add(*number, true);
                }
            } else {
                *all_known = false;
            }
            *next += 1;
        }
        Stop::Done
    }
}

impl Accepted {
    /// Polls each async handler once, one after the other, in one place. Returns the number of the
    /// first one that has to wait.
    #[inline(always)]
    pub(super) fn ask_all<'a>(
        &'a self,
        place: Pin<&mut Option<HandlerFuture<'a>>>,
        tally: &mut Tally,
        task: &mut Context<'_>,
    ) -> Option<usize> {
        let bit = self.kind.bit();
        let known = tally.known & bit != 0;
        let (all_known, next, answer) = (true, 0, None);
        let mut round = Round { at: self, place, task, tally, known, all_known, next, answer };
        let mut begun = 0;
        loop {
            // Panics are caught for all handlers at once, and the round goes on after one.
            let stop = catch_unwind(|| self.cx.within_emitter(|| round.ask()));
            if let (Ok(Stop::Done), 0) = (&stop, begun) {
                match known {
                    true => round.tally.by_all += 1,
                    false if round.all_known => round.tally.known |= bit,
                    false => {}
                }
                return None;
            }
            let Round { next, answer, tally, place, .. } = &mut round;
            if known {
                self.add_all(begun..*next, tally);
            }
            match stop {
                Ok(Stop::Done) => return None,
                Ok(Stop::Pending) => return Some(*next),
                Ok(Stop::Answered) => self.learn(*next, Ok(answer.take().unwrap_or(Ok(()))), tally),
                Err(message) => {
                    let answer = answer.take().ok_or(FailureCause::Panicked(message));
                    self.learn(*next, answer, tally);
                    // It is there if the call's future has panicked when it was dropped.
                    let _ = catch_unwind(|| place.set(None));
                }
            }
            *next += 1;
            begun = *next;
        }
    }

    /// Counts an event for some of the handlers.
    #[cold]
    fn add_all(&self, handlers: Range<usize>, tally: &mut Tally) {
        for (number, _) in self.setup.in_place.get(handlers).unwrap_or_default() {
            tally.add(*number, true);
        }
    }

    #[cold]
    fn learn(
        &self,
        handler: usize,
        answer: Result<HandlerResult, FailureCause>,
        tally: &mut Tally,
    ) {
        let Some((number, handler)) = self.setup.in_place.get(handler) else { return };
        let answer = handler.meta.learn(self.kind, answer);
        tally.add(*number, matches!(answer, Answer::Handled));
        handler.meta.conclude(answer, &self.node);
    }

    /// Goes on with the async handlers from number `next` of them on. The call of that one may be
    /// pending in its place.
    pub(super) async fn finish_pending<'a: 'p, 'p>(
        &'a self,
        next: usize,
        place: Pin<&'p mut Option<HandlerFuture<'a>>>,
        tally: &mut Tally,
    ) {
        let handlers = &self.setup.in_place;
        let mut first: Option<(usize, Pin<Box<Pending<'p>>>)> = None;
        let mut rest = next;
        if let Some(call) = place.as_pin_mut() {
            let Some((number, handler)) = handlers.get(next) else { return };
            let Target::Async { handler: target, timeout } = &handler.target else { return };
            let asked = self.asked(&handler.meta, &**target);
            let call: Pin<&mut (dyn Future<Output = HandlerResult> + Send)> = call;
            let timeout = timeout_of(*timeout, &self.setup);
            // It has been polled in this poll already. But if there is a time-out, its timer has not.
            let call = Once { skip: timeout.is_none(), future: go_on(asked, call, timeout) };
            let guard = Call::new(&handler.meta, &self.node, self.kind);
            first = Some((*number, Box::pin(finish(guard, call)) as Pin<Box<Pending<'p>>>));
            rest += 1;
        }
        let rest = self.rest_of(handlers.get(rest..).unwrap_or_default());
        let rest = rest.map(|(number, call)| (number, call as Pin<Box<Pending<'p>>>));
        let calls = first.into_iter().chain(rest);
        let calls = calls.map(|(number, call)| async move { (number, call.await) });
        for (number, done) in join_all(calls).await {
            tally.add(number, done);
        }
    }

    /// The calls of these async handlers.
    fn rest_of<'a>(
        &'a self,
        handlers: &'a [(usize, Arc<Registered>)],
    ) -> impl Iterator<Item = (usize, Pin<Box<Pending<'a>>>)> {
        let kind = self.kind;
        handlers.iter().filter_map(move |(number, handler)| {
            let Target::Async { handler: target, timeout } = &handler.target else { return None };
            if !handler.meta.wants(kind) {
                return None;
            }
            let asked = self.asked(&handler.meta, &**target);
            let call = ask_async(asked, timeout_of(*timeout, &self.setup));
            let call = finish(Call::new(&handler.meta, &self.node, kind), call);
            Some((*number, Box::pin(call) as Pin<Box<Pending<'a>>>))
        })
    }

    fn asked<'a>(
        &'a self,
        meta: &'a HandlerMeta,
        handler: &'a dyn ErasedAsyncHandler,
    ) -> Asked<'a> {
        Asked { meta, handler, event: &self.event, cx: &self.cx }
    }
}

pub(super) fn timeout_of(after: Option<Duration>, setup: &Setup) -> Option<Timeout<'_>> {
    after.map(|after| Timeout { after, left: after, runtime: &*setup.engine.runtime })
}

/// A call that may take more than one poll. Whether the event was handled.
type Pending<'a> = dyn Future<Output = bool> + Send + 'a;

/// Makes a call to its end. Whether the event was handled.
pub(super) async fn finish(call: Call<'_>, answer: impl Future<Output = Answer>) -> bool {
    let counted = call.pending();
    let answer = answer.await;
    drop(counted);
    call.settle(answer)
}

pin_project! {
    /// A future that was polled in this poll already.
    struct Once<F> {
        skip: bool,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Once<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if core::mem::take(this.skip) {
            return Poll::Pending;
        }
        this.future.poll(cx)
    }
}
