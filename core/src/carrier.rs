//! What brings a run's events to its handlers: one box for one event after the other.
//!
//! A fan-out borrows from the event for each handler's future, so it needs a place that does not move, and that outlives the emitter. A place for each
//! event would be an allocation for each; so the run keeps one, and the event's envelope with it where nobody else has that any more.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::context::{self, Current, Swapped};
use crate::dispatch::{Tickets, ask_all, ask_in_place};
use crate::envelope::{Envelope, FanOut};
use crate::error::EmitError;
use crate::event::Stamp;
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
    fn load(self: Pin<&mut Self>, facts: &Arc<Facts>, event: Unsent, stamp: Stamp, page: Option<usize>, tickets: Tickets);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome>;
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
    pub(crate) fn load(&mut self, facts: &Arc<Facts>, event: Unsent, stamp: Stamp, page: Option<usize>, tickets: Tickets) {
        self.0.as_mut().load(facts, event, stamp, page, tickets);
    }

    /// Has the event handled.
    #[inline]
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.0.as_mut().poll(cx)
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
        // Earlier events' envelopes, which lanes may still have, the oldest first.
        spares: VecDeque<Arc<Envelope>>,
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
            spares: VecDeque::new(),
        }
    }
}

impl<A, F> Carry for Reused<A, F>
where
    A: Fn(FanOut, Tickets) -> F + Send,
    F: Future<Output = FanOut> + Send,
{
    fn load(self: Pin<&mut Self>, facts: &Arc<Facts>, event: Unsent, stamp: Stamp, page: Option<usize>, tickets: Tickets) {
        let mut this = self.project();
        if this.spares.front().is_some_and(|spare| !context::is_here(&spare.emitter)) {
            this.spares.clear();
        }
        // Lanes take a run's events in order, so the oldest is free before the others, unless a thread that is done with it has not come to drop it.
        if this.spares.len() > 1 && Arc::get_mut(&mut this.spares[0]).is_none() {
            this.spares.rotate_left(1);
        }
        let fan_out = match this.spares.front_mut().map(Arc::get_mut) {
            Some(Some(spare)) => {
                spare.renew(event, stamp, page);
                FanOut::new(this.spares.pop_front())
            }
            Some(None) => {
                // Lanes have them all.
                let emitter = this.spares[0].emitter.clone();
                FanOut::of(Envelope::new(event.into_event(stamp), facts.clone(), emitter, page))
            }
            None => {
                let emitter = context::current();
                *this.inside = Inside(emitter.in_call(facts, None));
                FanOut::of(Envelope::new(event.into_event(stamp), facts.clone(), emitter, page))
            }
        };
        this.fan_out.set(Some((this.ask)(fan_out, tickets)));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        let Some(fan_out) = this.fan_out.as_mut().as_pin_mut() else {
            return Poll::Ready(Ok(()));
        };
        let swapped = Swapped::new(&mut this.inside.0);
        let poll = fan_out.poll(cx);
        drop(swapped);
        poll.map(|fan_out| {
            this.fan_out.set(None);
            let outcome = fan_out.envelope().verdict();
            let envelope = fan_out.close();
            // A handler may have taken its place along: what goes on with that is in no call from here on, and no later event's.
            if !this.inside.0.is_ours() {
                this.inside.0.call_is_over();
                this.spares.clear();
            } else if this.spares.len() < MOST_SPARES {
                this.spares.push_back(envelope);
            }
            outcome
        })
    }
}

/// Where the handlers are called; in no call once it is dropped.
struct Inside(Current);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.call_is_over();
    }
}
