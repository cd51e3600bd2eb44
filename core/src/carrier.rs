//! What brings a run's events to its handlers: one box for one event after the other.
//!
//! A fan-out borrows from the event for each handler's future, so it needs a place that does not move, and that outlives the emitter. A place for each
//! event would be an allocation for each; so the run keeps one, and the event's envelope with it where nobody else has that any more.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use pin_project_lite::pin_project;

use crate::context::{self, Current, Swapped};
use crate::dispatch::{Tickets, ask_all, ask_in_place};
use crate::envelope::{Envelope, FanOut};
use crate::error::EmitError;
use crate::manager::Setup;
use crate::scope::{Facts, Unsent};

/// What comes of an event for its emitter.
///
/// Boxed where it is an error: it is handed on a few times, and mostly is none.
pub(crate) type Outcome = Result<(), Box<EmitError>>;

/// Brings one event after the other to the handlers of a run.
pub(crate) struct Carrier(Pin<Box<dyn Carry>>);

/// How many envelopes a run keeps at most. More than its handlers have at a time are never there.
const MOST_SPARES: usize = 1024;

trait Carry: Send {
    fn load(
        self: Pin<&mut Self>,
        facts: &Arc<Facts>,
        event: &mut Unsent,
        sequence: u64,
        time: Option<Duration>,
        page: Option<usize>,
        tickets: Tickets,
    );

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome>;

    /// Loads an event that is in no book, and polls it: in one call, as most events are that.
    fn carry(
        self: Pin<&mut Self>,
        facts: &Arc<Facts>,
        event: &mut Unsent,
        sequence: u64,
        time: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome>;
}

impl Carrier {
    /// A carrier for a run with that setup.
    pub(crate) fn new(setup: &Setup) -> Self {
        Self(match setup.has_inline() || setup.has_lanes() {
            true => Box::pin(Reused::new(ask_all)),
            false => Box::pin(Reused::new(ask_in_place)),
        })
    }

    /// Takes on an accepted event of a run, under its page of the ledger, if it has one. Only while there is no other.
    ///
    /// `tickets` are those of handlers for which it has been counted already.
    #[inline]
    pub(crate) fn load(
        &mut self,
        facts: &Arc<Facts>,
        event: &mut Unsent,
        sequence: u64,
        time: Option<Duration>,
        page: Option<usize>,
        tickets: Tickets,
    ) {
        self.0.as_mut().load(facts, event, sequence, time, page, tickets);
    }

    /// Has the event handled.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
    }

    /// Takes on an accepted event that no ledger has, and has it handled.
    #[inline]
    pub(crate) fn carry(
        &mut self,
        facts: &Arc<Facts>,
        event: &mut Unsent,
        sequence: u64,
        time: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        self.0.as_mut().carry(facts, event, sequence, time, cx)
    }
}

pin_project! {
    /// A carrier, as it is where the fan-out's type is known.
    struct Reused<A, F> {
        ask: A,
        // Dropped first: what a handler's future does in its drop is still in its call.
        #[pin]
        fan_out: Option<F>,
        inside: Inside,
        spares: Spares,
    }
}

impl<A, F> Reused<A, F> {
    fn new(ask: A) -> Self
    where
        A: Fn(FanOut, Tickets) -> F,
    {
        Self {
            ask,
            fan_out: None,
            inside: Inside(Current::default()),
            spares: Spares::default(),
        }
    }
}

impl<A, F> Carry for Reused<A, F>
where
    A: Fn(FanOut, Tickets) -> F + Send,
    F: Future<Output = FanOut> + Send,
{
    fn load(
        self: Pin<&mut Self>,
        facts: &Arc<Facts>,
        event: &mut Unsent,
        sequence: u64,
        time: Option<Duration>,
        page: Option<usize>,
        tickets: Tickets,
    ) {
        self.load_here(facts, event, sequence, time, page, tickets);
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.poll_here(cx)
    }

    fn carry(
        mut self: Pin<&mut Self>,
        facts: &Arc<Facts>,
        event: &mut Unsent,
        sequence: u64,
        time: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<Outcome> {
        self.as_mut().load_here(facts, event, sequence, time, None, Tickets::default());
        self.poll_here(cx)
    }
}

impl<A, F> Reused<A, F>
where
    A: Fn(FanOut, Tickets) -> F,
    F: Future<Output = FanOut>,
{
    #[inline(always)]
    fn load_here(
        self: Pin<&mut Self>,
        facts: &Arc<Facts>,
        event: &mut Unsent,
        sequence: u64,
        time: Option<Duration>,
        page: Option<usize>,
        tickets: Tickets,
    ) {
        let mut this = self.project();
        let fan_out = this.spares.reopen(event, sequence, time, page).unwrap_or_else(|| {
            let emitter = context::current();
            if this.spares.are_empty() {
                *this.inside = Inside(emitter.in_call(facts, None));
            }
            FanOut::new(Envelope::new(event.take().into_event(sequence, time), facts.clone(), emitter, page))
        });
        this.fan_out.set(Some((this.ask)(fan_out, tickets)));
    }

    #[inline(always)]
    fn poll_here(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        let Some(fan_out) = this.fan_out.as_mut().as_pin_mut() else {
            return Poll::Ready(Ok(()));
        };
        let swapped = Swapped::new(&mut this.inside.0);
        let poll = fan_out.poll(cx);
        drop(swapped);
        poll.map(|mut fan_out| {
            this.fan_out.set(None);
            let outcome = fan_out.envelope().verdict();
            fan_out.close();
            // A handler may have taken its place along: what goes on with that is in no call from here on, and no later event's.
            if !this.inside.0.is_ours() {
                this.inside.0.call_is_over();
                this.spares.clear();
            } else {
                this.spares.keep(fan_out);
            }
            outcome
        })
    }
}

/// Earlier events, which lanes may still have, and all of which were emitted from one place.
#[derive(Default)]
struct Spares {
    oldest: Option<FanOut>,
    /// The others, in their order. None where there is no oldest.
    younger: VecDeque<FanOut>,
}

impl Spares {
    /// Makes one that is free that of an event which is emitted here. Where there is none, but others' are of this place, they stay.
    #[inline(always)]
    fn reopen(&mut self, event: &mut Unsent, sequence: u64, time: Option<Duration>, page: Option<usize>) -> Option<FanOut> {
        let oldest = self.oldest.as_mut()?;
        if context::is_here(&oldest.envelope().emitter) && oldest.reopen(event, sequence, time, page) {
            return mem::replace(&mut self.oldest, self.younger.pop_front());
        }
        self.reopen_younger(event, sequence, time, page)
    }

    #[cold]
    fn reopen_younger(&mut self, event: &mut Unsent, sequence: u64, time: Option<Duration>, page: Option<usize>) -> Option<FanOut> {
        if !context::is_here(&self.oldest.as_ref()?.envelope().emitter) {
            self.clear();
            return None;
        }
        // Lanes take a run's events in order, so the oldest is free before the others, unless a thread that is done with it has not come to drop it.
        let mut younger = self.younger.pop_front()?;
        if younger.reopen(event, sequence, time, page) {
            return Some(younger);
        }
        self.younger.extend(self.oldest.replace(younger));
        None
    }

    #[inline(always)]
    fn keep(&mut self, closed: FanOut) {
        if self.oldest.is_none() {
            self.oldest = Some(closed);
        } else if self.younger.len() + 1 < MOST_SPARES {
            self.younger.push_back(closed);
        }
    }

    fn are_empty(&self) -> bool {
        self.oldest.is_none()
    }

    fn clear(&mut self) {
        self.oldest = None;
        self.younger.clear();
    }
}

/// Where the handlers are called; in no call once it is dropped.
struct Inside(Current);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.call_is_over();
    }
}
