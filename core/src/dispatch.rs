//! Asking all handlers at once.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_util::future::join_all;
use pin_project_lite::pin_project;

use crate::context::{CallOver, InCurrentRun};
use crate::envelope::{Envelope, FanOut};
use crate::error::EmitError;
use crate::event::EventKind;
use crate::lane::FollowUp;
use crate::ledger::Ticket;
use crate::registration::Registration;
use crate::scope::Facts;

/// Has every handler that wants the event handle it: the inline ones first, one by one; then all others side by side.
///
/// It is ready when those whose answers the emitter waits for have answered. Every handler sees the event, whatever another one makes of it; the
/// error is the first in that order, then in that of registration.
///
/// `tickets` are those of handlers for which it has been counted already.
pub(crate) fn dispatch(fan_out: FanOut, tickets: Tickets) -> impl Future<Output = Result<(), EmitError>> {
    let inside = fan_out.0.emitter.in_call(&fan_out.0.facts, None);
    let over = CallOver(inside.clone());
    let ask = async move {
        let _over = over;
        ask_all(&fan_out.0, tickets).await;
        fan_out.0.verdict()
    };
    InCurrentRun::new(ask, inside)
}

async fn ask_all(envelope: &Arc<Envelope>, mut tickets: Tickets) {
    let kind = envelope.event.kind();
    let handlers = || envelope.facts.setup.handlers().enumerate();
    if handlers().any(|(_, handler)| handler.run_inline && handler.wants(kind)) {
        tickets = Box::pin(ask_inline(envelope, kind, tickets)).await;
    }
    bring_to_lanes(envelope, kind, &mut tickets);
    if kind.is_end() {
        // Lanes that did not want it.
        envelope.facts.leave_lanes(Some(envelope));
    }
    ask_in_place(envelope, kind, &mut tickets).await;
    poll_fn(|cx| envelope.poll_released(cx)).await;
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

/// Asks the async handlers. Each is polled once, where it is; only when one has to wait, those after it are boxed, and joined with it.
async fn ask_in_place(envelope: &Arc<Envelope>, kind: EventKind, tickets: &mut Tickets) {
    let handlers = envelope.facts.setup.handlers().enumerate();
    let handlers = handlers.filter(|(_, handler)| !handler.run_inline && handler.lane().is_none() && handler.wants(kind));
    let mut calls = handlers.map(|(index, handler)| Pending::new(handler, handler.call(envelope, index), tickets.take(index)));
    while let Some(call) = calls.next() {
        let mut call = core::pin::pin!(call);
        let waits = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
        if waits {
            let mut rest = Box::pin(join_all(calls));
            // The call has been polled in this poll already.
            let (mut call_waits, mut rest_waits, mut polled) = (true, true, true);
            poll_fn(|cx| {
                call_waits = call_waits && (core::mem::take(&mut polled) || call.as_mut().poll(cx).is_pending());
                rest_waits = rest_waits && rest.as_mut().poll(cx).is_pending();
                if call_waits || rest_waits { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            return;
        }
    }
}

/// Asks the inline handlers; gives what flushes of the others wait for already.
async fn ask_inline(envelope: &Arc<Envelope>, kind: EventKind, tickets: Tickets) -> Tickets {
    let handlers = || {
        envelope
            .facts
            .setup
            .handlers()
            .enumerate()
            .filter(|(_, handler)| handler.wants(kind))
    };
    let inline = handlers().filter(|(_, handler)| handler.run_inline);
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
        let mut call = core::pin::pin!(Pending::new(handler, handler.call(envelope, index), ticket));
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
pub(crate) struct Tickets(Vec<(usize, Ticket)>);

impl Tickets {
    /// One for each handler of the run that wants `kind`.
    pub(crate) fn of_all(facts: &Facts, kind: EventKind) -> Self {
        let wanting = facts.setup.handlers().enumerate().filter(|(_, handler)| handler.wants(kind));
        Self(wanting.map(|(index, handler)| (index, Ticket::new(&handler.ledger))).collect())
    }

    fn open_for(&mut self, handlers: &[(usize, &Arc<Registration>)]) {
        for (index, handler) in handlers {
            if !self.0.iter().any(|(known, _)| known == index) {
                self.0.push((*index, Ticket::new(&handler.ledger)));
            }
        }
    }

    fn take(&mut self, index: usize) -> Option<Ticket> {
        let at = self.0.iter().position(|(known, _)| *known == index)?;
        Some(self.0.swap_remove(at).1)
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

pin_project! {
    /// A call on the emitter's task: one that takes more than a poll counts as pending for its handler.
    struct Pending<'a, F> {
        #[pin]
        call: F,
        handler: &'a Registration,
        ticket: Option<Ticket>,
    }
}

impl<'a, F> Pending<'a, F> {
    fn new(handler: &'a Registration, call: F, ticket: Option<Ticket>) -> Self {
        Self { call, handler, ticket }
    }
}

impl<F: Future<Output = ()>> Future for Pending<'_, F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let poll = this.call.poll(cx);
        match poll {
            Poll::Ready(()) => *this.ticket = None,
            Poll::Pending if this.ticket.is_none() => *this.ticket = Some(Ticket::new(&this.handler.ledger)),
            Poll::Pending => {}
        }
        poll
    }
}
