//! A registered handler: what it wants, what it has declined, and how it is called.

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::contain::{Contained, contained};
use crate::context::{self, Busy, CallOver};
use crate::deadline::{Deadline, Within};
use crate::engine::Engine;
use crate::envelope::Envelope;
use crate::error::{FailureCause, HandlerFailure, HandlerResult};
use crate::event::{Event, EventKind, Interest};
use crate::handler::{AsyncCallbackHandler, CallbackHandler, Common, ErasedAsyncHandler, Place};
use crate::lane::{Call, Lane};
use crate::ledger::Ledger;
use crate::run_info::RunInfo;
use crate::scope::has_changed;
use crate::seat::{Left, Seat, Taken};
use crate::stats::{Counters, HandlerStats};

/// Tells a registered handler from all others of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandlerId(usize);

impl HandlerId {
    fn next() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

pub(crate) struct Registration {
    pub(crate) id: HandlerId,
    pub(crate) name: Arc<str>,
    pub(crate) run_inline: bool,
    pub(crate) raise_error: bool,
    pub(crate) counters: Counters,
    /// The calls that wait or go on, as far as it takes more than a poll: what a flush of this handler waits for.
    pub(crate) ledger: Arc<Ledger>,
    interest: Interest,
    /// The kinds that it answered `unhandled` to.
    declined: AtomicU32,
    /// The kinds that it has handled at least once: those are never muted.
    handled: AtomicU32,
    target: Target,
}

/// Where a handler's calls are made.
enum Target {
    /// On the emitter's task.
    Async {
        handler: Box<dyn ErasedAsyncHandler>,
        deadline: Option<Box<Deadline>>,
    },
    /// On the emitter's task, one call at a time.
    Inline(Box<Inline>),
    /// Wherever its lane is served. Boxed, or the others would be as large.
    Lane(Box<Lane>),
    /// It is not registered any more.
    Gone,
}

/// What a handler made of an event.
pub(crate) enum Answer {
    Handled,
    Unhandled,
    Failed(EventKind, FailureCause),
}

struct Inline {
    seat: Seat,
    deadline: Option<Deadline>,
}

impl Registration {
    pub(crate) fn sync(handler: impl CallbackHandler, options: Common, deadline: Option<Deadline>, engine: &Engine) -> Arc<Self> {
        let name = options.name.clone().unwrap_or_else(|| Arc::from(handler.name()));
        let interest = handler.interest();
        let handler = Box::new(handler);
        let target = match options.place {
            Place::Inline => Target::Inline(Box::new(Inline {
                seat: Seat::new(handler),
                deadline,
            })),
            Place::Usual | Place::Runtime => Target::Lane(Box::new(Lane::blocking(handler, options.delivery, deadline, &engine.workers))),
        };
        Self::new(name, interest, &options, target)
    }

    pub(crate) fn asynchronous(
        handler: impl AsyncCallbackHandler,
        options: Common,
        deadline: Option<Deadline>,
        engine: &Engine,
    ) -> Arc<Self> {
        let name = options.name.clone().unwrap_or_else(|| Arc::from(handler.name()));
        let interest = handler.interest();
        let handler = Box::new(handler);
        let target = if options.place != Place::Runtime && options.delivery.is_awaited() {
            let deadline = deadline.map(Box::new);
            Target::Async { handler, deadline }
        } else {
            Target::Lane(Box::new(Lane::tasks(handler, options.delivery, deadline, engine.runtime.clone())))
        };
        Self::new(name, interest, &options, target)
    }

    fn new(name: Arc<str>, interest: Interest, options: &Common, target: Target) -> Arc<Self> {
        Arc::new(Self {
            id: HandlerId::next(),
            name,
            run_inline: options.place == Place::Inline,
            raise_error: options.raise_error,
            counters: Counters::default(),
            ledger: Arc::new(Ledger::new()),
            interest,
            declined: AtomicU32::new(0),
            handled: AtomicU32::new(0),
            target,
        })
    }

    pub(crate) fn lane(&self) -> Option<&Lane> {
        match &self.target {
            Target::Lane(lane) => Some(lane),
            Target::Async { .. } | Target::Inline(_) | Target::Gone => None,
        }
    }

    pub(crate) fn stats(&self) -> HandlerStats {
        let open_runs = self.lane().map_or(0, Lane::open_runs);
        self.counters.read(self.id, self.name.clone(), self.ledger.open_count(), open_runs)
    }

    /// Whether it wants events of `kind`, as far as is known.
    #[inline]
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.takes(kind) || (kind == EventKind::ChatModelStart && self.interest.contains(kind) && self.takes(EventKind::LlmStart))
    }

    /// The kinds that it [`wants`](Self::wants), as bits.
    pub(crate) fn wanted_kinds(&self) -> u32 {
        EventKind::ALL
            .iter()
            .fold(0, |kinds, kind| if self.wants(*kind) { kinds | kind.bit() } else { kinds })
    }

    /// Whether it wants tokens, and the time of each.
    pub(crate) fn wants_token_times(&self) -> bool {
        self.interest.has_token_times() && self.takes(EventKind::LlmNewToken)
    }

    /// Whether it is to be asked about `kind` itself.
    fn takes(&self, kind: EventKind) -> bool {
        let muted = self.declined.load(Ordering::SeqCst) & !self.handled.load(Ordering::SeqCst);
        self.interest.contains(kind) && muted & kind.bit() == 0
    }

    /// Whether it has handled `kind` at least once.
    #[inline]
    pub(crate) fn has_handled(&self, kind: EventKind) -> bool {
        self.handled.load(Ordering::SeqCst) & kind.bit() != 0
    }

    /// Learns from an answer.
    pub(crate) fn learn(&self, kind: EventKind, answer: Result<HandlerResult, FailureCause>) -> Answer {
        let answer = match answer {
            Ok(Err(error)) => match error.into_cause() {
                None => {
                    if self.declined.fetch_or(kind.bit(), Ordering::SeqCst) & kind.bit() == 0 {
                        has_changed();
                    }
                    return Answer::Unhandled;
                }
                Some(cause) => Answer::Failed(kind, FailureCause::Error(cause)),
            },
            Ok(Ok(())) => Answer::Handled,
            Err(cause) => Answer::Failed(kind, cause),
        };
        // Asked before it is changed: the answer is mostly known, and then no other thread's copy of it is touched.
        if !self.has_handled(kind) {
            self.handled.fetch_or(kind.bit(), Ordering::SeqCst);
            // Beside another call it may have been muted, and is no more: either that one finds that it has handled the kind, or we find it muted.
            if self.declined.load(Ordering::SeqCst) & kind.bit() != 0 {
                has_changed();
            }
        }
        answer
    }

    /// What stands in for `event` where it is not handled: for a chat model's start, the start with the messages as text.
    fn instead_of(&self, event: &Event) -> Option<Event> {
        match event {
            Event::ChatModelStart(start) if self.takes(EventKind::LlmStart) => Some(Event::LlmStart(start.to_llm_start())),
            _ => None,
        }
    }

    /// An async handler that is called on the emitter's task, and how long that may take.
    #[inline]
    pub(crate) fn in_place(&self) -> Option<(&dyn ErasedAsyncHandler, Option<&Deadline>)> {
        match &self.target {
            Target::Async { handler, deadline } => Some((&**handler, deadline.as_deref())),
            Target::Inline(_) | Target::Lane(_) | Target::Gone => None,
        }
    }

    /// Whether its calls on the emitter's task may take too long.
    pub(crate) fn has_deadline(&self) -> bool {
        matches!(&self.target, Target::Async { deadline: Some(_), .. })
    }

    /// Has an inline handler handle the event, if that is a sync one, and free; its failure concerns the envelope.
    pub(crate) fn call_inline_now(&self, envelope: &Envelope, index: usize) -> bool {
        let Target::Inline(inline) = &self.target else { return false };
        let Some(handler) = inline.seat.take_now() else { return false };
        self.call_taken(handler, envelope, index, inline.deadline.as_ref());
        true
    }

    /// Has an inline handler handle the event, once it is free; its failure concerns the envelope.
    pub(crate) async fn call_inline(self: &Arc<Self>, envelope: &Arc<Envelope>, index: usize) {
        let Target::Inline(inline) = &self.target else { return };
        let Inline { seat, deadline } = &**inline;
        if envelope.emitter.waits_for(self.id, &envelope.facts) && self.leave(seat, envelope, index) {
            return;
        }
        let mut cut = CutShort::new(self, envelope);
        let handler = seat.take().await;
        cut.armed = false;
        self.call_taken(handler, envelope, index, deadline.as_ref());
    }

    /// Has an inline handler handle the event, and then those that were emitted inside that call.
    fn call_taken(&self, mut handler: Taken<'_>, envelope: &Envelope, index: usize, deadline: Option<&Deadline>) {
        let answer = self.ask_inline(handler.get(), envelope, deadline);
        let failure = self.conclude(answer, envelope);
        while let Some(call) = handler.next() {
            let answer = self.ask_inline(handler.get(), call.envelope(), deadline);
            let failure = self.conclude(answer, call.envelope());
            call.settle(failure);
        }
        if let Some(failure) = failure {
            envelope.note(index, self, &failure);
        }
    }

    /// Leaves an event that was emitted inside a call of this inline handler to whoever makes that call; false where that is over.
    fn leave(self: &Arc<Self>, seat: &Seat, envelope: &Arc<Envelope>, index: usize) -> bool {
        match seat.leave(Call::new(self, envelope, index, false, None)) {
            Left::Queued => true,
            Left::NoRoom(call) => {
                let failure = self.fail(FailureCause::WouldDeadlock, envelope);
                envelope.note(index, self, &failure);
                call.settle(Some(failure));
                true
            }
            Left::Free(call) => {
                call.settle(None);
                false
            }
        }
    }

    pub(crate) async fn ask_async(
        &self,
        handler: &dyn ErasedAsyncHandler,
        event: &Event,
        run: &RunInfo,
        deadline: Option<&Deadline>,
    ) -> Answer {
        let kind = event.kind();
        if self.takes(kind) {
            let answer = self.ask_once(handler, event, run, deadline).await;
            if !matches!(answer, Answer::Unhandled) {
                return answer;
            }
        }
        let Some(event) = self.instead_of(event) else {
            return Answer::Unhandled;
        };
        // Boxed: few calls come here, and all others need not make room for it.
        Box::pin(async { self.ask_once(handler, &event, run, deadline).await }).await
    }

    async fn ask_once(&self, handler: &dyn ErasedAsyncHandler, event: &Event, run: &RunInfo, deadline: Option<&Deadline>) -> Answer {
        // In an async block, so that a panic of the method before its first `await` is contained too.
        let call = Contained::new(async { handler.call(event, run).await });
        let answer = Within::new(call, deadline).await;
        self.learn(event.kind(), answer.unwrap_or_else(Err))
    }

    /// Calls a sync handler on the emitter's thread.
    fn ask_inline(&self, handler: &mut dyn CallbackHandler, envelope: &Envelope, deadline: Option<&Deadline>) -> Answer {
        let due = deadline.map(|deadline| (deadline, deadline.due()));
        let current = envelope.emitter.in_call(&envelope.facts, Some(Busy::Everywhere(self.id)));
        let over = CallOver(current.clone());
        let entered = context::enter(current);
        let answer = self.ask_sync(handler, &envelope.event, envelope.run());
        drop(entered);
        drop(over);
        match (answer, due) {
            (Answer::Handled, Some((deadline, due))) if deadline.now() > due => {
                Answer::Failed(envelope.event.kind(), FailureCause::TimedOut(deadline.after()))
            }
            (answer, _) => answer,
        }
    }

    /// Calls a sync handler on this thread.
    pub(crate) fn ask_sync(&self, handler: &mut dyn CallbackHandler, event: &Event, run: &RunInfo) -> Answer {
        let kind = event.kind();
        if self.takes(kind) {
            let answer = self.learn(kind, contained(|| handler.on_event(event, run)));
            if !matches!(answer, Answer::Unhandled) {
                return answer;
            }
        }
        let Some(event) = self.instead_of(event) else {
            return Answer::Unhandled;
        };
        self.learn(event.kind(), contained(|| handler.on_event(&event, run)))
    }

    /// Counts an answer; gives back the failure that it is, reported already.
    pub(crate) fn conclude(&self, answer: Answer, envelope: &Envelope) -> Option<HandlerFailure> {
        match answer {
            Answer::Handled => {
                self.counters.handled();
                None
            }
            Answer::Unhandled => None,
            Answer::Failed(kind, cause) => Some(self.report(kind, cause, envelope)),
        }
    }

    /// Counts and reports that the handler could not handle the event.
    pub(crate) fn fail(&self, cause: FailureCause, envelope: &Envelope) -> HandlerFailure {
        self.report(envelope.event.kind(), cause, envelope)
    }

    /// Counts and reports that the runtime was shut down before the handler was called.
    pub(crate) fn report_uncalled(&self, envelope: &Envelope) -> HandlerFailure {
        self.fail(FailureCause::RuntimeGone, envelope)
    }

    fn report(&self, kind: EventKind, cause: FailureCause, envelope: &Envelope) -> HandlerFailure {
        self.counters.failed();
        let failure = HandlerFailure::new(self.name.clone(), kind, envelope.run().id(), cause);
        envelope.reporter().report(&failure);
        failure
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let target = core::mem::replace(&mut self.target, Target::Gone);
        // Whoever happens to be the last to have the handler, another one's lane for example, has no part in what that does now.
        let _ = contained(|| drop(target));
    }
}

/// Reports a call that is dropped before it began, or before its end: which happens only where the runtime was shut down under it.
struct CutShort<'a> {
    registration: &'a Registration,
    envelope: &'a Envelope,
    armed: bool,
}

impl<'a> CutShort<'a> {
    fn new(registration: &'a Registration, envelope: &'a Envelope) -> Self {
        Self {
            registration,
            envelope,
            armed: true,
        }
    }
}

impl Drop for CutShort<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.registration.report_uncalled(self.envelope);
        }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("name", &self.name.to_string())
            .field("inline", &self.run_inline)
            .finish_non_exhaustive()
    }
}
