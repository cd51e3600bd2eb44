//! The futures that emitting returns.

use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::heard::Plain;
use super::{Emission, RunCore, Scope, Unsent, abandon};
use crate::error::{EmitError, StartError};
use crate::event::{Event, EventKind};

/// Has one event handled: ready when all awaited handlers have handled it.
///
/// The event is accepted at the first poll that is not behind an earlier event of the run. Dropped before that, it has not happened.
/// Dropped after that, the calls that it began run to their end: the manager's spawner takes them over.
#[must_use = "an event happens when it is awaited"]
pub struct Emit<'run> {
    core: &'run Arc<RunCore>,
    /// Absent where nobody minds.
    emission: Option<Emission>,
}

impl<'run> Emit<'run> {
    // Always inlined, with what leads here: so the answer that nobody minds stays in a register, and the event is made where it is polled. As calls
    // they would hand the whole future over through memory, which takes several times as long as to ask.
    #[inline(always)]
    pub(super) fn new<E: Into<Unsent>>(scope: &'run Scope, kind: EventKind, make: impl FnOnce() -> E) -> Self {
        Self {
            core: scope.core(),
            emission: scope.core().minds(kind).map(|plain| match plain {
                Plain(true) => Emission::new(make().into()),
                Plain(false) => emission(scope, make),
            }),
        }
    }
}

/// Makes the event if there is anybody to hear it.
#[inline]
fn emission<E: Into<Unsent>>(scope: &Scope, make: impl FnOnce() -> E) -> Emission {
    let setup = &scope.facts().setup;
    if !setup.has_handlers() {
        Emission::Done
    } else if setup.engine.is_shut_down() {
        Emission::ShutDown
    } else {
        Emission::new(make().into())
    }
}

#[cfg(feature = "std")]
impl Emit<'_> {
    /// The event with its run, if anybody minds.
    pub(crate) fn into_in_flight(mut self) -> Option<InFlight> {
        let emission = self.emission.take()?;
        Some(InFlight {
            core: self.core.clone(),
            emission,
        })
    }
}

impl Future for Emit<'_> {
    type Output = Result<(), EmitError>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let core = self.core;
        match &mut self.emission {
            Some(emission) => core.poll_emission(emission, cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Emit<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(emission) = self.emission.as_ref().filter(|emission| !emission.is_done()) {
            abandon(self.core, emission);
        }
    }
}

impl fmt::Debug for Emit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emit")
            .field("done", &self.emission.as_ref().is_none_or(Emission::is_done))
            .finish_non_exhaustive()
    }
}

/// A run together with its event in flight: for whoever owns the run while it emits.
pub(crate) struct OwnedEmit {
    // In this order: the event in flight is handed over before the run is closed.
    in_flight: InFlight,
    scope: Scope,
}

pub(crate) struct InFlight {
    core: Arc<RunCore>,
    emission: Emission,
}

impl OwnedEmit {
    pub(crate) fn new(scope: Scope) -> Self {
        let in_flight = InFlight {
            core: scope.core().clone(),
            emission: Emission::Done,
        };
        Self { in_flight, scope }
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(crate) fn into_scope(self) -> Scope {
        self.scope
    }

    /// Emits an event next that the run goes on after. Only while no other one is under way.
    pub(crate) fn tell<E: Into<Unsent>>(&mut self, kind: EventKind, make: impl FnOnce() -> E) {
        debug_assert!(self.in_flight.emission.is_done(), "one event at a time");
        if self.scope.core().minds(kind).is_some() {
            self.in_flight.emission = emission(&self.scope, make);
        }
    }

    /// Emits a start or an end next. Only while no other one is under way.
    pub(crate) fn say(&mut self, make: impl FnOnce() -> Event) {
        debug_assert!(self.in_flight.emission.is_done(), "one event at a time");
        self.in_flight.emission = emission(&self.scope, make);
    }

    pub(crate) fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
        Pin::new(&mut self.in_flight).poll(cx)
    }
}

#[cfg(feature = "std")]
impl OwnedEmit {
    /// The run, and its event in flight. That goes first.
    pub(crate) fn into_parts(self) -> (Scope, InFlight) {
        (self.scope, self.in_flight)
    }
}

#[cfg(feature = "std")]
impl InFlight {
    pub(crate) fn core(&self) -> &RunCore {
        &self.core
    }

    /// What kind of event it is, if it has not happened yet.
    pub(crate) fn kind(&self) -> Option<EventKind> {
        match &self.emission {
            Emission::New { event, .. } => Some(event.kind()),
            Emission::Accepted { .. } | Emission::ShutDown | Emission::Done => None,
        }
    }
}

impl Future for InFlight {
    type Output = Result<(), EmitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { core, emission } = self.get_mut();
        core.poll_emission(emission, cx)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        abandon(&self.core, &self.emission);
    }
}

/// Ends a run: ready when all awaited handlers have handled its end.
///
/// Dropped before the end is accepted, at the first poll that is not behind an earlier event, the run ends as cancelled. Dropped after
/// that, the end is delivered as an end all the same.
#[must_use = "a run ends when its end is awaited; dropped, it is cancelled"]
pub struct End(OwnedEmit);

impl End {
    pub(super) fn new(scope: Scope, event: Event) -> Self {
        let mut emit = OwnedEmit::new(scope);
        emit.say(|| event);
        Self(emit)
    }
}

#[cfg(feature = "std")]
impl End {
    pub(crate) fn into_emit(self) -> OwnedEmit {
        self.0
    }
}

impl Future for End {
    type Output = Result<(), EmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_said(cx)
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End")
            .field("run", &self.0.scope().info().id())
            .finish_non_exhaustive()
    }
}

/// Sends an event that belongs to no run: ready when all awaited handlers have handled it.
///
/// The event is accepted at the first poll. Dropped before that, it has not happened; dropped after that, the calls that it began run to
/// their end.
#[must_use = "an event happens when it is awaited"]
pub struct SendEvent(OwnedEmit);

impl SendEvent {
    pub(crate) fn new(scope: Scope, event: impl FnOnce() -> Event) -> Self {
        let mut emit = OwnedEmit::new(scope);
        emit.say(event);
        Self(emit)
    }
}

#[cfg(feature = "std")]
impl SendEvent {
    pub(crate) fn into_emit(self) -> OwnedEmit {
        self.0
    }
}

impl Future for SendEvent {
    type Output = Result<(), EmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_said(cx)
    }
}

impl fmt::Debug for SendEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendEvent")
    }
}

/// Starts a run: ready with the run when all awaited handlers have handled its start.
///
/// The run has started at the first poll. Dropped after that, it ends as cancelled.
#[must_use = "a run starts when its start is awaited"]
pub struct Start<Run> {
    emit: Option<OwnedEmit>,
    run: PhantomData<fn() -> Run>,
}

impl<Run> Start<Run> {
    pub(crate) fn new(scope: Scope, event: impl FnOnce() -> Event) -> Self {
        let mut emit = OwnedEmit::new(scope);
        emit.say(event);
        Self {
            emit: Some(emit),
            run: PhantomData,
        }
    }
}

impl<Run> Start<Run> {
    /// The run with its start still to be polled.
    ///
    /// # Panics
    /// When it was ready already.
    pub(crate) fn into_emit(self) -> OwnedEmit {
        self.emit.expect("it has not been polled")
    }
}

impl<Run: From<Scope>> Future for Start<Run> {
    /// On an error the run has started all the same, and is in it.
    type Output = Result<Run, StartError<Run>>;

    /// # Panics
    /// When it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match &mut self.emit {
            Some(emit) => ready!(emit.poll_said(cx)),
            None => panic!("a start was polled after it was ready"),
        };
        let scope = self.emit.take().map(OwnedEmit::into_scope);
        let run = Run::from(scope.expect("it was there a line ago"));
        Poll::Ready(match outcome {
            Ok(()) => Ok(run),
            Err(error) => Err(StartError::new(run, error)),
        })
    }
}

impl<Run> fmt::Debug for Start<Run> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("ready", &self.emit.is_none()).finish_non_exhaustive()
    }
}
