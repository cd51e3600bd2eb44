//! Asking all handlers at once.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future as _, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use futures_util::future::{Either, join_all};

use crate::contain::contained;
use crate::envelope::{Envelope, FanOut};
use crate::error::HandlerResult;
use crate::event::EventKind;
use crate::handler::HandlerFuture;
use crate::in_place::{Counted, InPlace};
use crate::lane::FollowUp;
use crate::ledger::Ticket;
use crate::registration::Registration;
use crate::scope::Facts;

/// Has every handler that wants the event handle it: the inline ones first, one by one; then all others side by side. Gives the fan-out back.
///
/// It is ready when those whose answers the emitter waits for have answered. Every handler sees the event, whatever another one makes of it; the
/// verdict is the first failure in that order, then in that of registration.
///
/// `tickets` are those of handlers for which it has been counted already.
pub(crate) async fn ask_all(fan_out: FanOut, mut tickets: Tickets) -> FanOut {
    let envelope = fan_out.envelope();
    let kind = envelope.event.kind();
    let setup = &envelope.facts.setup;
    if setup.has_inline() {
        if let Some(first) = ask_inline_now(envelope, kind, &mut tickets) {
            tickets = Box::pin(ask_inline(envelope, kind, first, tickets)).await;
        }
    }
    if setup.has_lanes() {
        bring_to_lanes(envelope, kind, &mut tickets);
        if kind.is_end() {
            // Lanes that did not want it.
            envelope.facts.leave_lanes(Some(envelope));
        }
    }
    let fan_out = ask_in_place(fan_out, tickets).await;
    poll_fn(|cx| fan_out.envelope().poll_released(cx)).await;
    fan_out
}

/// Queues the event for those that have a lane.
fn bring_to_lanes(envelope: &Arc<Envelope>, kind: EventKind, tickets: &mut Tickets) {
    let lanes = || {
        let handlers = envelope.facts.setup.handlers().enumerate();
        handlers.filter_map(|(index, handler)| Some((index, handler, handler.lane().filter(|_| handler.wants(kind))?)))
    };
    let brought = lanes().filter_map(|(index, handler, lane)| lane.bring(handler, envelope, index, tickets.take(index)));
    if kind.is_start() && lanes().filter(|(.., lane)| lane.makes_starts_wait()).nth(1).is_some() {
        // At once: if two runs came to two lanes in different orders, each could have the room that the other one waits for.
        let admission = &envelope.facts.setup.engine.admission;
        let brought: Vec<FollowUp<'_>> = admission.with(|()| brought.collect());
        brought.into_iter().for_each(FollowUp::finish);
    } else {
        brought.for_each(FollowUp::finish);
    }
}

/// Asks the async handlers; where a run has no others, this is all. Gives the fan-out back.
///
/// Each is polled once, where it is; only when one has to wait, those after it are boxed, and joined with it.
pub(crate) async fn ask_in_place(fan_out: FanOut, mut tickets: Tickets) -> FanOut {
    {
        let envelope = fan_out.envelope();
        let kind = envelope.event.kind();
        if kind == EventKind::ChatModelStart {
            // It may have to be asked twice.
            Box::pin(finish(in_place(envelope, kind, 0, &mut tickets), false)).await;
        } else {
            let mut call = pin!(None);
            let mut first = None;
            poll_fn(|cx| {
                first = Round::new(envelope, kind).poll(call.as_mut(), &mut tickets, cx);
                Poll::Ready(())
            })
            .await;
            if let Some((index, handler)) = first {
                let first = call.as_mut().as_pin_mut();
                let first = first.and_then(|call| InPlace::begun((index, handler), envelope, call, tickets.take(index)));
                let calls = first.into_iter().chain(in_place(envelope, kind, index + 1, &mut tickets));
                // It has been polled in this poll already; but where there is a deadline, its timer has not.
                Box::pin(finish(calls, !handler.has_deadline())).await;
                // One whose time was up goes here, and may panic: the emitter waits for the others all the same.
                let _ = contained(|| call.set(None));
            }
        }
    }
    fan_out
}

/// The async handlers of an event, each polled once, one after the other, in one place.
struct Round<'a> {
    envelope: &'a Arc<Envelope>,
    kind: EventKind,
    /// The number of the handler whose turn it is.
    index: usize,
    /// Whether that is being called. Else what panics is its future's drop, which harms nobody.
    calling: bool,
}

/// Why a round has stopped.
enum Stop {
    /// All have answered.
    Through,
    /// The handler has to wait; its call stays in its place.
    Waits,
    /// There is more to its answer than that it has handled the event, as it has others of the kind.
    Answered(HandlerResult),
}

impl<'a> Round<'a> {
    fn new(envelope: &'a Arc<Envelope>, kind: EventKind) -> Self {
        Self {
            envelope,
            kind,
            index: 0,
            calling: false,
        }
    }

    /// Gives the first that has to wait.
    fn poll(
        mut self,
        mut call: Pin<&mut Option<HandlerFuture<'a>>>,
        tickets: &mut Tickets,
        cx: &mut Context<'_>,
    ) -> Option<(usize, &'a Arc<Registration>)> {
        loop {
            // Panics are caught for all of them at once, and the round goes on after one: to catch them for each costs as much as a quick call.
            let answer = match contained(|| self.go_on(call.as_mut(), tickets, cx)) {
                Ok(Stop::Through) => return None,
                Ok(Stop::Waits) => return Some((self.index, self.handler()?)),
                Ok(Stop::Answered(answer)) => Some(Ok(answer)),
                Err(panicked) => self.calling.then_some(Err(panicked)),
            };
            if let (Some(answer), Some(handler)) = (answer, self.handler()) {
                handler.has_answered(handler.learn(self.kind, answer), self.envelope, self.index);
            }
            let _ = contained(|| call.set(None));
            self.has_handled(tickets);
        }
    }

    fn go_on(&mut self, mut call: Pin<&mut Option<HandlerFuture<'a>>>, tickets: &mut Tickets, cx: &mut Context<'_>) -> Stop {
        let envelope = self.envelope;
        for handler in envelope.facts.setup.handlers().skip(self.index) {
            let Some((target, _)) = handler.in_place().filter(|_| !handler.run_inline && handler.wants(self.kind)) else {
                self.index += 1;
                continue;
            };
            self.calling = true;
            target.call_in(&envelope.event, envelope.run(), call.as_mut());
            match call.as_mut().as_pin_mut().map_or(Poll::Pending, |call| call.poll(cx)) {
                Poll::Ready(Ok(())) if handler.has_handled(self.kind) => {}
                Poll::Ready(answer) => return Stop::Answered(answer),
                Poll::Pending => return Stop::Waits,
            }
            self.calling = false;
            handler.counters.handled();
            call.set(None);
            self.has_handled(tickets);
        }
        Stop::Through
    }

    /// Whose turn it is.
    fn handler(&self) -> Option<&'a Arc<Registration>> {
        self.envelope.facts.setup.handler(self.index)
    }

    /// The handler whose turn it was is through with the event.
    #[inline]
    fn has_handled(&mut self, tickets: &mut Tickets) {
        // What a flush waits for.
        drop(tickets.take(self.index));
        self.index += 1;
        self.calling = false;
    }
}

/// The calls of the async handlers from number `first` on.
fn in_place<'a>(envelope: &'a Arc<Envelope>, kind: EventKind, first: usize, tickets: &mut Tickets) -> impl Iterator<Item = InPlace<'a>> {
    let handlers = envelope.facts.setup.handlers().enumerate().skip(first);
    let handlers = handlers.filter(move |(_, handler)| !handler.run_inline && handler.wants(kind));
    handlers.filter_map(|(index, handler)| InPlace::here((index, handler), envelope, tickets.take(index)).ok())
}

/// Asks the rest, side by side. `polled`: the first of them has been polled in this poll already.
async fn finish<'a>(mut calls: impl Iterator<Item = InPlace<'a>>, mut polled: bool) {
    let (mut first, mut rest) = (pin!(calls.next()), pin!(join_all(calls)));
    let mut rest_waits = true;
    poll_fn(|cx| {
        let first_waits = core::mem::take(&mut polled) || first.as_mut().as_pin_mut().is_some_and(|first| first.poll(cx).is_pending());
        if !first_waits {
            first.set(None);
        }
        rest_waits = rest_waits && rest.as_mut().poll(cx).is_pending();
        if first_waits || rest_waits {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
}

/// Asks the inline handlers, one by one, as long as they are sync ones, and free; gives the number of the first that is not.
fn ask_inline_now(envelope: &Envelope, kind: EventKind, tickets: &mut Tickets) -> Option<usize> {
    let handlers = envelope.facts.setup.handlers().enumerate();
    for (index, handler) in handlers.filter(|(_, handler)| handler.run_inline && handler.wants(kind)) {
        if !handler.call_inline_now(envelope, index) {
            return Some(index);
        }
        // What a flush waits for.
        drop(tickets.take(index));
    }
    None
}

/// Asks the inline handlers from number `first` on; gives what flushes of the others wait for already.
async fn ask_inline(envelope: &Arc<Envelope>, kind: EventKind, first: usize, tickets: Tickets) -> Tickets {
    let handlers = || {
        envelope
            .facts
            .setup
            .handlers()
            .enumerate()
            .filter(|(_, handler)| handler.wants(kind))
    };
    let inline = handlers().filter(|(index, handler)| handler.run_inline && *index >= first);
    let order = inline.chain(handlers().filter(|(_, handler)| !handler.run_inline));
    let order: Vec<(usize, &Arc<Registration>)> = order.collect();
    let mut unasked = Unasked {
        envelope,
        waits: &order,
        tickets,
    };
    while let Some((&(index, handler), rest)) = unasked.waits.split_first().filter(|((_, handler), _)| handler.run_inline) {
        unasked.waits = rest;
        let ticket = unasked.tickets.take(index);
        let call = match InPlace::here((index, handler), envelope, ticket) {
            Ok(call) => Either::Left(call),
            Err(ticket) => Either::Right(Counted::new(handler, handler.call_inline(envelope, index), ticket)),
        };
        let mut call = pin!(call);
        poll_fn(|cx| {
            let poll = call.as_mut().poll(cx);
            if poll.is_pending() {
                unasked.tickets.open_for(unasked.waits);
            }
            poll
        })
        .await;
    }
    // From here on each call reports itself.
    unasked.waits = &[];
    core::mem::take(&mut unasked.tickets)
}

/// What flushes of handlers wait for that have not been asked yet, by the handler's number: opened as soon as it takes more than a poll, and handed on
/// to the call. (One opened anew would be on a later page, and be missed by a flush that has begun meanwhile.)
#[derive(Default)]
pub(crate) struct Tickets(Option<Box<Opened>>);

/// Mostly there are none: so they stand in a box.
#[derive(Default)]
struct Opened(Vec<(usize, Ticket)>);

impl Tickets {
    /// One for each handler of the run that wants `kind`.
    pub(crate) fn of_all(facts: &Facts, kind: EventKind) -> Self {
        let wanting = facts.setup.handlers().enumerate().filter(|(_, handler)| handler.wants(kind));
        let tickets = wanting.map(|(index, handler)| (index, Ticket::new(&handler.ledger)));
        Self(Some(Box::new(Opened(tickets.collect()))))
    }

    fn open_for(&mut self, handlers: &[(usize, &Arc<Registration>)]) {
        let Opened(tickets) = &mut **self.0.get_or_insert_default();
        for (index, handler) in handlers {
            if !tickets.iter().any(|(known, _)| known == index) {
                tickets.push((*index, Ticket::new(&handler.ledger)));
            }
        }
    }

    #[inline]
    fn take(&mut self, index: usize) -> Option<Ticket> {
        let Opened(tickets) = &mut **self.0.as_mut()?;
        let at = tickets.iter().position(|(known, _)| *known == index)?;
        Some(tickets.swap_remove(at).1)
    }
}

/// The handlers that wait for their turn behind an inline one. Those that are dropped there were not called, and are reported: it happens where
/// the runtime was shut down.
struct Unasked<'a> {
    envelope: &'a Envelope,
    waits: &'a [(usize, &'a Arc<Registration>)],
    tickets: Tickets,
}

impl Drop for Unasked<'_> {
    fn drop(&mut self) {
        for (_, handler) in self.waits {
            handler.report_uncalled(self.envelope);
        }
    }
}
