//! Calls on the emitter's task.

use alloc::boxed::Box;
use core::future::{Future, ready};
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::contain::contained;
use crate::envelope::Envelope;
use crate::event::EventKind;
use crate::handler::HandlerFuture;
use crate::ledger::Ticket;
use crate::registration::{Answer, Registration};

pin_project! {
    /// A call of an async handler. Dropped before its end, which happens only where the runtime was shut down under it, it reports itself.
    pub(crate) struct InPlace<'a> {
        #[pin]
        answer: Answering<'a>,
        handler: &'a Registration,
        envelope: &'a Envelope,
        index: usize,
        // What a flush of the handler waits for: of a call that takes more than a poll.
        ticket: Option<Ticket>,
        over: bool,
    }

    impl PinnedDrop for InPlace<'_> {
        fn drop(this: Pin<&mut Self>) {
            if !this.over {
                this.handler.report_uncalled(this.envelope);
            }
        }
    }
}

pin_project! {
    #[project = Answered]
    enum Answering<'a> {
        Plain { #[pin] future: HandlerFuture<'a> },
        // What has a deadline, and what may have to ask twice.
        Other { future: Pin<Box<dyn Future<Output = Answer> + Send + 'a>> },
    }
}

impl<'a> InPlace<'a> {
    /// Begins the call, if the handler is an async one that is asked on the emitter's task; else gives the ticket back.
    pub(crate) fn begin(
        handler: &'a Registration,
        envelope: &'a Envelope,
        index: usize,
        ticket: Option<Ticket>,
    ) -> Result<Self, Option<Ticket>> {
        let Some((target, deadline)) = handler.in_place() else {
            return Err(ticket);
        };
        let (event, run) = (&envelope.event, envelope.run());
        let kind = event.kind();
        let answer = if deadline.is_some() || kind == EventKind::ChatModelStart {
            let future = Box::pin(handler.ask_async(target, event, run, deadline));
            Answering::Other { future }
        } else {
            match contained(|| target.call(event, run)) {
                Ok(future) => Answering::Plain { future },
                Err(panicked) => {
                    let future = Box::pin(ready(handler.learn(kind, Err(panicked))));
                    Answering::Other { future }
                }
            }
        };
        Ok(Self {
            answer,
            handler,
            envelope,
            index,
            ticket,
            over: false,
        })
    }
}

impl Future for InPlace<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let poll = match this.answer.project() {
            Answered::Plain { future } => match contained(|| future.poll(cx)) {
                Ok(poll) => poll.map(Ok),
                Err(panicked) => Poll::Ready(Err(panicked)),
            }
            .map(|answer| this.handler.learn(this.envelope.event.kind(), answer)),
            Answered::Other { future } => future.as_mut().poll(cx),
        };
        let Poll::Ready(answer) = poll else {
            if this.ticket.is_none() {
                *this.ticket = Some(Ticket::new(&this.handler.ledger));
            }
            return Poll::Pending;
        };
        *this.over = true;
        if let Some(failure) = this.handler.conclude(answer, this.envelope) {
            this.envelope.note(*this.index, this.handler, &failure);
        }
        *this.ticket = None;
        Poll::Ready(())
    }
}

pin_project! {
    /// A call of an inline handler: one that takes more than a poll counts as pending.
    pub(crate) struct Counted<'a, F> {
        #[pin]
        call: F,
        handler: &'a Registration,
        ticket: Option<Ticket>,
    }
}

impl<'a, F> Counted<'a, F> {
    pub(crate) fn new(handler: &'a Registration, call: F, ticket: Option<Ticket>) -> Self {
        Self { call, handler, ticket }
    }
}

impl<F: Future<Output = ()>> Future for Counted<'_, F> {
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
