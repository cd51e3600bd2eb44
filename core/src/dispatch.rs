//! Asking all handlers at once.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use futures_util::future::join_all;

use crate::context::{Current, InCurrentRun};
use crate::error::{EmitError, FailureCause, HandlerFailure};
use crate::event::Event;
use crate::ledger::Ticket;
use crate::registration::Registration;
use crate::report::Reporter;
use crate::run_info::RunInfo;
use crate::scope::Facts;

/// An accepted event on its way to the handlers; shared, since a lane may outlive the emitter.
pub(crate) struct Envelope {
    pub(crate) event: Event,
    facts: Arc<Facts>,
    /// Where the emitter was, inside of which the handlers are called.
    emitter: Current,
    _ticket: Ticket,
}

impl Envelope {
    pub(crate) fn new(event: Event, facts: Arc<Facts>, emitter: Current) -> Self {
        let ticket = facts.setup.engine.ledger.open();
        Self {
            event,
            facts,
            emitter: emitter.in_call(),
            _ticket: ticket,
        }
    }

    pub(crate) fn emitter(&self) -> Current {
        self.emitter.clone()
    }

    pub(crate) fn run(&self) -> &RunInfo {
        &self.facts.info
    }

    pub(crate) fn reporter(&self) -> &Reporter {
        &self.facts.setup.reporter
    }
}

/// Has every handler that wants the event handle it: the inline ones first, one by one; then all others side by side.
///
/// Every handler sees the event, whatever another one makes of it; the error is the first in that order, then in that of registration.
pub(crate) fn dispatch(envelope: Arc<Envelope>) -> impl Future<Output = Result<(), EmitError>> {
    let emitter = envelope.emitter();
    InCurrentRun::new(ask_all(envelope), emitter)
}

async fn ask_all(envelope: Arc<Envelope>) -> Result<(), EmitError> {
    let kind = envelope.event.kind();
    let envelope = &envelope;
    let setup = &envelope.facts.setup;
    let wanting = |inline: bool| {
        setup
            .handlers()
            .filter(move |handler| handler.run_inline == inline && handler.wants(kind))
    };
    let mut outcome = Ok(());
    let mut unasked = Unasked {
        envelope,
        waits: match wanting(true).next() {
            Some(_) => wanting(true).chain(wanting(false)).cloned().collect(),
            // Nobody to wait behind.
            None => VecDeque::new(),
        },
    };
    while let Some(handler) = unasked.next_inline() {
        note(&mut outcome, &handler, handler.call(envelope).await);
    }
    // From here on each call reports itself.
    unasked.waits.clear();
    let mut others = wanting(false);
    match (others.next(), others.next()) {
        (None, _) => {}
        (Some(only), None) => note(&mut outcome, only, only.call(envelope).await),
        (Some(_), Some(_)) => {
            let failures = join_all(wanting(false).map(|handler| async move { (handler, handler.call(envelope).await) })).await;
            for (handler, failure) in failures {
                note(&mut outcome, handler, failure);
            }
        }
    }
    outcome
}

/// The handlers that wait for their turn behind an inline one. Those that are dropped there were not called, and are reported: it happens where
/// the runtime was shut down.
struct Unasked<'a> {
    envelope: &'a Envelope,
    waits: VecDeque<Arc<Registration>>,
}

impl Unasked<'_> {
    fn next_inline(&mut self) -> Option<Arc<Registration>> {
        if self.waits.front()?.run_inline {
            self.waits.pop_front()
        } else {
            None
        }
    }
}

impl Drop for Unasked<'_> {
    fn drop(&mut self) {
        for handler in &self.waits {
            handler.report_uncalled(self.envelope);
        }
    }
}

/// Keeps the failure if it concerns the emitter, and is the first that does.
fn note(outcome: &mut Result<(), EmitError>, handler: &Registration, failure: Option<HandlerFailure>) {
    let Some(failure) = failure else { return };
    match (&failure.cause, &outcome) {
        (_, Err(EmitError::Raised(_))) => {}
        (_, _) if handler.raise_error => *outcome = Err(EmitError::Raised(failure)),
        (FailureCause::RuntimeGone, Ok(())) => *outcome = Err(EmitError::RuntimeGone(failure)),
        _ => {}
    }
}
