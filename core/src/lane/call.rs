//! A handler's call for one event, from when it is queued to when it is over.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::mailboxes::{Item, Losses, Part};
use crate::envelope::{Envelope, Hold};
use crate::error::HandlerFailure;
use crate::event::Event;
use crate::ledger::Ticket;
use crate::registration::Registration;
use crate::run_info::RunKind;

/// A call that is to be made. Dropped before it is settled, because its runtime has dropped whoever was to make it, it reports itself.
pub(crate) struct Call {
    envelope: Arc<Envelope>,
    /// The event as this handler gets it, where several were joined.
    joined: Option<Box<Event>>,
    /// The handler's number in its run.
    index: usize,
    /// Whether the emitter waits until it is handled.
    answers: bool,
    /// What a flush of the handler waits for: its page in that one's ledger. Absent once the call is settled.
    page: Option<usize>,
}

impl Call {
    /// Counts the call in, unless a ticket says that it has been.
    pub(crate) fn new(owner: &Arc<Registration>, envelope: &Arc<Envelope>, index: usize, answers: bool, ticket: Option<Ticket>) -> Self {
        envelope.to_be_handled();
        if answers {
            envelope.hold_emitter();
        }
        let page = ticket.and_then(Ticket::into_page).unwrap_or_else(|| owner.ledger.open());
        Self {
            envelope: envelope.clone(),
            joined: None,
            index,
            answers,
            page: Some(page),
        }
    }

    /// What it takes to make the call, while the call itself stays where a time-out finds it.
    pub(super) fn errand(&mut self, losses: Losses) -> Errand {
        Errand {
            envelope: self.envelope.clone(),
            joined: self.joined.take(),
            losses,
        }
    }

    /// Whose call it is: the run has it by its number.
    fn owner(&self) -> Option<&Arc<Registration>> {
        self.envelope.facts.setup.handler(self.index)
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// It is over, or will never be made.
    pub(crate) fn settle(mut self, failure: Option<HandlerFailure>) {
        self.close(failure);
    }

    fn close(&mut self, failure: Option<HandlerFailure>) {
        let Some(page) = self.page.take() else { return };
        let Some(owner) = self.owner() else { return };
        if let Some(failure) = &failure {
            self.envelope.note(self.index, owner, failure);
        }
        // The books first: whoever is woken then may ask whether all is handled.
        owner.ledger.close(page);
        self.envelope.handled();
        if self.answers {
            self.envelope.release_emitter();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.page.is_some() {
            let failure = self.owner().map(|owner| owner.report_uncalled(&self.envelope));
            self.close(failure);
        }
    }
}

/// An event's part in its run.
pub(super) fn part(envelope: &Envelope) -> Part {
    let kind = envelope.event.kind();
    if envelope.run().kind() == RunKind::None {
        Part::Only
    } else if kind.is_start() {
        Part::Start
    } else if kind.is_end() {
        Part::End
    } else if matches!(envelope.event, Event::LlmNewToken(_)) {
        Part::Token
    } else {
        Part::Other
    }
}

impl Item for Call {
    type Hold = Hold;

    fn part(&self) -> Part {
        part(&self.envelope)
    }

    fn hold_emitter(&self) -> Hold {
        Hold::new(&self.envelope)
    }

    fn admitted(&self, key: usize) {
        match self.part() {
            // Nothing comes after it, and the mailbox goes with it.
            Part::End | Part::Only => _ = self.envelope.facts.places.leave(self.index),
            Part::Start | Part::Token | Part::Other => self.envelope.facts.places.admit(self.index, key),
        }
    }

    fn refused(&self) {
        self.envelope.facts.places.refuse(self.index);
    }

    fn absorb(&mut self, newer: Self) -> Result<Self, Self> {
        let Event::LlmNewToken(theirs) = newer.joined.as_deref().unwrap_or(&newer.envelope.event) else {
            return Err(newer);
        };
        let ours = self.joined.get_or_insert_with(|| Box::new(self.envelope.event.clone()));
        let joined = match &mut **ours {
            Event::LlmNewToken(ours) => ours.join(theirs),
            _ => false,
        };
        if joined { Ok(newer) } else { Err(newer) }
    }
}

/// An event on its way into a handler.
pub(super) struct Errand {
    pub(super) envelope: Arc<Envelope>,
    joined: Option<Box<Event>>,
    losses: Losses,
}

impl Errand {
    /// The event as the handler gets it, if that is not as it was emitted.
    pub(super) fn own_event(&mut self) -> Option<Event> {
        let joined = self.joined.take().map(|event| *event);
        if self.losses.is_none() {
            return joined;
        }
        let mut event = joined.unwrap_or_else(|| self.envelope.event.clone());
        event.stamp_mut().losses = self.losses;
        Some(event)
    }
}
