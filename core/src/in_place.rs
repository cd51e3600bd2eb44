//! Calls on the emitter's task.

use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::contain::Contained;
use crate::deadline::Within;
use crate::envelope::Envelope;
use crate::error::HandlerResult;
use crate::handler::HandlerFuture;
use crate::ledger::Ticket;
use crate::registration::{Answer, Registration};

impl Registration {
    pub(crate) fn has_answered(&self, answer: Answer, envelope: &Envelope, index: usize) {
        if let Some(failure) = self.conclude(answer, envelope) {
            envelope.note(index, self, &failure);
        }
    }
}

pin_project! {
    /// A call of an async handler that takes more than a poll. Dropped before its end, which happens only where the runtime was shut down under it, it
    /// reports itself.
    pub(crate) struct InPlace<'a> {
        #[pin]
        call: Begun<'a>,
        handler: &'a Registration,
        envelope: &'a Envelope,
        index: usize,
        // What a flush of the handler waits for.
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
    #[project = BegunProjected]
    enum Begun<'a> {
        // It stays where it was polled.
        There { #[pin] future: Within<'a, Contained<Pin<&'a mut (dyn Future<Output = HandlerResult> + Send + 'a)>>> },
        // It begins when it is polled.
        Here { future: Pin<Box<dyn Future<Output = Answer> + Send + 'a>> },
    }
}

impl<'a> InPlace<'a> {
    /// A call that was polled, and goes on where it is.
    pub(crate) fn begun(
        (index, handler): (usize, &'a Registration),
        envelope: &'a Envelope,
        call: Pin<&'a mut HandlerFuture<'_>>,
        ticket: Option<Ticket>,
    ) -> Option<Self> {
        let (_, deadline) = handler.in_place()?;
        let call: Pin<&mut (dyn Future<Output = HandlerResult> + Send)> = call;
        let future = Within::new(Contained::new(call), deadline);
        let ticket = ticket.unwrap_or_else(|| Ticket::new(&handler.ledger));
        Some(Self::new((index, handler), envelope, Begun::There { future }, Some(ticket)))
    }

    /// A call that begins when it is polled, if the handler is an async one that is asked on the emitter's task; else gives the ticket back.
    pub(crate) fn here(
        (index, handler): (usize, &'a Registration),
        envelope: &'a Envelope,
        ticket: Option<Ticket>,
    ) -> Result<Self, Option<Ticket>> {
        let Some((target, deadline)) = handler.in_place() else {
            return Err(ticket);
        };
        let future = Box::pin(handler.ask_async(target, &envelope.event, envelope.run(), deadline));
        Ok(Self::new((index, handler), envelope, Begun::Here { future }, ticket))
    }

    fn new((index, handler): (usize, &'a Registration), envelope: &'a Envelope, call: Begun<'a>, ticket: Option<Ticket>) -> Self {
        Self {
            call,
            handler,
            envelope,
            index,
            ticket,
            over: false,
        }
    }
}

impl Future for InPlace<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let poll = match this.call.project() {
            BegunProjected::There { future } => future
                .poll(cx)
                .map(|answer| this.handler.learn(this.envelope.event.kind(), answer.unwrap_or_else(Err))),
            BegunProjected::Here { future } => future.as_mut().poll(cx),
        };
        let Poll::Ready(answer) = poll else {
            if this.ticket.is_none() {
                *this.ticket = Some(Ticket::new(&this.handler.ledger));
            }
            return Poll::Pending;
        };
        *this.over = true;
        this.handler.has_answered(answer, this.envelope, *this.index);
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
