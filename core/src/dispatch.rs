//! Asking all handlers at once.

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
use crate::ledger::Ticket;
use crate::registration::Registration;

/// Has every handler that wants the event handle it: the inline ones first, one by one; then all others side by side.
///
/// It is ready when those whose answers the emitter waits for have answered. Every handler sees the event, whatever another one makes of it; the
/// error is the first in that order, then in that of registration.
pub(crate) fn dispatch(fan_out: FanOut) -> impl Future<Output = Result<(), EmitError>> {
    let inside = fan_out.0.emitter.in_call(&fan_out.0.facts, None);
    let over = CallOver(inside.clone());
    let ask = async move {
        let _over = over;
        ask_all(&fan_out.0).await;
        fan_out.0.verdict()
    };
    InCurrentRun::new(ask, inside)
}

async fn ask_all(envelope: &Arc<Envelope>) {
    let kind = envelope.event.kind();
    let handlers = || envelope.facts.setup.handlers().enumerate();
    let mut tickets = Vec::new();
    if handlers().any(|(_, handler)| handler.run_inline && handler.wants(kind)) {
        tickets = ask_inline(envelope, kind).await;
    }
    let mut others = handlers().filter(|(_, handler)| !handler.run_inline && handler.lane().is_none() && handler.wants(kind));
    for (index, handler) in handlers() {
        if let Some(lane) = handler.lane().filter(|_| handler.wants(kind)) {
            lane.bring(handler, envelope, index);
        }
    }
    if kind.is_end() {
        // Lanes that did not want it.
        envelope.facts.leave_lanes();
    }
    let mut asked = core::pin::pin!(async {
        match (others.next(), others.next()) {
            (None, _) => {}
            (Some((index, only)), None) => Pending::new(only, only.call(envelope, index)).await,
            (Some(first), Some(second)) => {
                let all = [first, second].into_iter().chain(others);
                join_all(all.map(|(index, handler)| Pending::new(handler, handler.call(envelope, index)))).await;
            }
        }
    });
    poll_fn(|cx| {
        let poll = asked.as_mut().poll(cx);
        // All have been asked: from here on each call has its own.
        tickets.clear();
        poll
    })
    .await;
    poll_fn(|cx| poll_released(envelope, cx)).await;
}

/// Ready when no lane keeps the emitter waiting.
fn poll_released(envelope: &Arc<Envelope>, cx: &mut Context<'_>) -> Poll<()> {
    let poll = envelope.poll_released(cx);
    if poll.is_ready() || !envelope.emitter.may_help() {
        return poll;
    }
    // We are inside a sync handler, on a thread that may be the only one there is for them.
    for handler in envelope.facts.setup.handlers() {
        if let Some(lane) = handler.lane() {
            lane.help(handler);
        }
    }
    envelope.poll_released(cx)
}

/// Asks the inline handlers; gives what flushes of the others wait for until those are asked.
async fn ask_inline(envelope: &Arc<Envelope>, kind: EventKind) -> Vec<Ticket> {
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
        tickets: Vec::new(),
    };
    while let Some((&(index, handler), rest)) = unasked.waits.split_first().filter(|((_, handler), _)| handler.run_inline) {
        unasked.waits = rest;
        let mut call = core::pin::pin!(Pending::new(handler, handler.call(envelope, index)));
        poll_fn(|cx| {
            let poll = call.as_mut().poll(cx);
            if poll.is_pending() {
                unasked.open_tickets();
            }
            poll
        })
        .await;
    }
    // From here on each call reports itself.
    unasked.waits = &[];
    core::mem::take(&mut unasked.tickets)
}

/// The handlers that wait for their turn behind an inline one. Those that are dropped there were not called, and are reported: it happens where
/// the runtime was shut down.
struct Unasked<'a> {
    envelope: &'a Envelope,
    waits: &'a [(usize, &'a Arc<Registration>)],
    /// What flushes of those handlers wait for, as soon as it takes more than a poll; kept until all are asked.
    tickets: Vec<Ticket>,
}

impl Unasked<'_> {
    fn open_tickets(&mut self) {
        if self.tickets.is_empty() {
            self.tickets
                .extend(self.waits.iter().map(|(_, handler)| Ticket::new(&handler.ledger)));
        }
    }
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
    fn new(handler: &'a Registration, call: F) -> Self {
        Self {
            call,
            handler,
            ticket: None,
        }
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
