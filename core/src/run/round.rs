//! An accepted event and the async handlers that are polled in place.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::ops::Range;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_util::future::join_all;
use pin_project_lite::pin_project;

use super::setup::Setup;
use crate::dispatch::{
    Answer, Asked, Begun, Call, Registered, RunNode, Target, Timeout, count, go_on,
};
use crate::handler::{FirstAnswer, FirstPoll, HandlerFuture};
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

impl Accepted {
    /// Polls each async handler once, one after the other, in one place. Returns the number of the
    /// first one that has to wait.
    #[inline(always)]
    pub(super) fn ask_all<'a>(
        &'a self,
        mut place: Pin<&mut Option<HandlerFuture<'a>>>,
        tally: &mut Tally,
        task: &mut Context<'_>,
    ) -> Option<usize> {
        let known = tally.known & self.kind.bit() != 0;
        let (mut next, mut answer) = (0, FirstAnswer::default());
        loop {
            let begun = next;
            let asked = (&mut next, place.as_mut(), &mut *task, &mut answer);
            // Panics are caught for all handlers at once, and the round goes on after one.
            let stop = catch_unwind(move || {
                let (next, place, task, answer) = asked;
                // Spelled out, so that the calls of most events are compiled in here.
                if self.cx.emitter.is_none() {
                    return self.ask_from(next, known, place, task, answer);
                }
                self.cx.within_emitter(|| self.ask_from(next, known, place, task, answer))
            });
            match stop {
                Ok(Stop::Done) if known && begun == 0 => tally.by_all += 1,
                _ => self.add_all(begun..next, tally),
            }
            match stop {
                Ok(Stop::Done) => return None,
                Ok(Stop::Pending) => return Some(next),
                Ok(Stop::Answered) => self.learn(next, Ok(answer.take().unwrap_or(Ok(()))), tally),
                Err(message) => {
                    let answer = answer.take().ok_or(FailureCause::Panicked(message));
                    self.learn(next, answer, tally);
                    // It is there if the call's future has panicked when it was dropped.
                    let _ = catch_unwind(|| place.set(None));
                }
            }
            next += 1;
        }
    }

    /// Polls the handlers from number `next` of them on. `known` says that each of them has handled
    /// events of this kind.
    #[inline(always)]
    fn ask_from<'a>(
        &'a self,
        next: &mut usize,
        known: bool,
        mut place: Pin<&mut Option<HandlerFuture<'a>>>,
        task: &mut Context<'_>,
        answer: &mut FirstAnswer,
    ) -> Stop {
        while let Some((_, handler)) = self.setup.in_place.get(*next) {
            let Target::Async { handler: target, .. } = &handler.target else { break };
            // A kind that it has handled is wanted, and there is nothing to learn.
            let known = known || handler.meta.has_handled(self.kind);
            if known || handler.meta.wants(self.kind) {
                match target.ask(&self.event, &self.cx, place.as_mut(), task, answer) {
                    FirstPoll::Handled if known => {}
                    FirstPoll::Handled | FirstPoll::Answered => return Stop::Answered,
                    FirstPoll::Pending => return Stop::Pending,
                }
            }
            *next += 1;
        }
        Stop::Done
    }

    /// Counts an event for those of these handlers that have handled it: each that has handled its
    /// kind before.
    #[inline(never)]
    fn add_all(&self, handlers: Range<usize>, tally: &mut Tally) {
        let bit = self.kind.bit();
        let all = handlers == (0..self.setup.in_place.len());
        let mut known = all;
        for (number, handler) in self.setup.in_place.get(handlers).unwrap_or_default() {
            let handled = handler.meta.has_handled(self.kind);
            tally.add(*number, handled);
            known &= handled;
        }
        if known {
            tally.known |= bit;
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
        let mut begun = place.as_pin_mut().map(|call| call as Begun<'p>);
        let handlers = self.setup.in_place.get(next..).unwrap_or_default();
        let calls = handlers.iter().filter_map(|(number, handler)| {
            let begun = begun.take();
            if begun.is_none() && !handler.meta.wants(self.kind) {
                return None;
            }
            let call = self.ask(handler, begun)?;
            Some(async move { (*number, call.await) })
        });
        for (number, done) in join_all(calls).await {
            tally.add(number, done);
        }
    }

    /// Asks an async handler, or goes on with its call. Whether it has handled the event.
    pub(super) fn ask<'a>(
        &'a self,
        handler: &'a Registered,
        begun: Option<Begun<'a>>,
    ) -> Option<impl Future<Output = bool> + Send + use<'a>> {
        let Target::Async { handler: target, timeout } = &handler.target else { return None };
        let (meta, runtime) = (&*handler.meta, &*self.setup.engine.runtime);
        let asked = Asked { meta, handler: &**target, event: &self.event, cx: &self.cx };
        let timeout = timeout.map(|after| Timeout { after, left: after, runtime });
        // What has begun was polled in this poll already. But if there is a time-out, its timer was
        // not.
        let skip = begun.is_some() && timeout.is_none();
        let answer = Once { skip, future: go_on(asked, begun, timeout) };
        let call = Call::new(meta, &self.node, self.kind);
        Some(async move {
            let counted = call.pending();
            let answer = answer.await;
            drop(counted);
            call.settle(answer)
        })
    }
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
