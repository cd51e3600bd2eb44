//! What can go wrong: in a handler, in a run, in emitting.

use alloc::boxed::Box;
#[cfg(feature = "std")]
use alloc::string::String;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use crate::event::EventKind;
use crate::run_info::RunId;

/// An error behind a shared pointer: it goes to every handler and to the emitter.
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// What a handler's method answers.
pub type HandlerResult = Result<(), HandlerError>;

/// Why a handler did not handle an event.
///
/// Any error becomes one with `?`; text does with [`HandlerError::new`].
/// Like `anyhow::Error` it is no [`Error`] itself, or that conversion could not exist.
pub struct HandlerError(Answer);

enum Answer {
    Unhandled,
    Failed(SharedError),
}

impl HandlerError {
    /// The handler does not handle this kind of event: the answer of every default method. It costs no allocation.
    ///
    /// The dispatcher learns from it, and does not ask this handler about this kind again, unless it has handled the kind before.
    #[must_use]
    pub const fn unhandled() -> Self {
        Self(Answer::Unhandled)
    }

    /// The handler failed.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Answer::Failed(Arc::from(cause.into())))
    }

    /// Whether the handler does not handle this kind of event.
    #[must_use]
    pub const fn is_unhandled(&self) -> bool {
        matches!(self.0, Answer::Unhandled)
    }

    pub(crate) fn into_cause(self) -> Option<SharedError> {
        match self.0 {
            Answer::Unhandled => None,
            Answer::Failed(cause) => Some(cause),
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        Self(Answer::Failed(Arc::new(cause)))
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Answer::Unhandled => f.write_str("Unhandled"),
            Answer::Failed(cause) => fmt::Debug::fmt(cause, f),
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Answer::Unhandled => f.write_str("unhandled"),
            Answer::Failed(cause) => fmt::Display::fmt(cause, f),
        }
    }
}

/// A handler failed on an event: what [`on_handler_failure`](crate::CallbackManager::on_handler_failure) is told, and what a handler
/// with `raise_error` returns to the emitter.
#[derive(Debug, Clone, thiserror::Error)]
#[error("handler `{handler}` failed in {event}: {cause}")]
#[non_exhaustive]
pub struct HandlerFailure {
    /// The handler's name.
    pub handler: Arc<str>,
    /// The kind of the event.
    pub event: EventKind,
    /// The run that the event belongs to.
    pub run_id: RunId,
    /// What happened.
    #[source]
    pub cause: FailureCause,
}

impl HandlerFailure {
    pub(crate) fn new(handler: Arc<str>, event: EventKind, run_id: RunId, cause: FailureCause) -> Self {
        Self {
            handler,
            event,
            run_id,
            cause,
        }
    }
}

/// How a handler failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FailureCause {
    /// It answered with an error.
    Error(SharedError),
    /// It panicked, with that message. Needs `std`, and `panic = "unwind"`.
    Panicked(Arc<str>),
    /// It took longer than its time-out, which is given. An async call is dropped then; a sync one goes on, and its answer is of no account.
    TimedOut(Duration),
    /// It was not called: a call of it that has timed out is still going on.
    Busy,
    /// It was not called: the event was emitted inside a call of the same handler, and its mailbox is full, so that waiting for room would never end.
    WouldDeadlock,
    /// The runtime was shut down before the handler was called.
    RuntimeGone,
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => fmt::Display::fmt(error, f),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::TimedOut(after) => write!(f, "no answer within {after:?}"),
            Self::Busy => f.write_str("not called, as a call that has timed out still goes on"),
            Self::WouldDeadlock => f.write_str("not called, as it would have to wait for itself"),
            Self::RuntimeGone => f.write_str("the runtime was shut down before the call"),
        }
    }
}

impl Error for FailureCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // `Display` shows the error itself, so the chain goes on with what is behind it.
            Self::Error(error) => error.source(),
            Self::Panicked(_) | Self::TimedOut(_) | Self::Busy | Self::WouldDeadlock | Self::RuntimeGone => None,
        }
    }
}

/// Why an event did not reach all who wanted it, or should stop the run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// A handler that was registered with `raise_error` failed. All others have seen the event. Give the run up by dropping it: it then
    /// ends as [`RunError::Stopped`].
    #[error("stopped: {0}")]
    Raised(#[source] HandlerFailure),
    /// The run's parent had ended before it. This event has not happened; the run has ended as [`RunError::Cancelled`] instead.
    #[error("the run was closed by the end of its parent")]
    RunClosed,
    /// The event was emitted inside a handler, which was called for an event that was emitted inside a handler, and so on, 32 levels deep, tasks that took
    /// their place along included: the handlers call each other in a circle. This event has not happened.
    #[error("handlers emit inside handlers, without an end")]
    TooDeep,
    /// The event was emitted inside a handler's call, and waiting would never end: a handler further out would have to take it, and has no room
    /// for it. All others have seen the event.
    #[error("a handler waits for itself: {0}")]
    WouldDeadlock(#[source] HandlerFailure),
    /// The event was emitted inside the call of a handler for an event of the same run, which is still being handled. This event has not happened.
    #[error("a handler waits for the event that it handles")]
    RunBusy,
    /// The runtime was shut down before a handler could be called; all that could be called have been.
    #[error("the runtime was shut down: {0}")]
    RuntimeGone(#[source] HandlerFailure),
    /// The event was to be waited for by [blocking](crate::Blocking) code, on a thread that something it waits for needs. This event has not happened.
    #[error("this thread would wait for what it has to do itself")]
    WouldBlock,
    /// The callbacks were [shut down](crate::CallbackManager::shutdown). This event has not happened.
    #[error("the callbacks have been shut down")]
    ShutDown,
}

impl EmitError {
    /// The failure of a handler behind it, if it is one.
    #[must_use]
    pub fn failure(&self) -> Option<&HandlerFailure> {
        match self {
            Self::Raised(failure) | Self::WouldDeadlock(failure) | Self::RuntimeGone(failure) => Some(failure),
            Self::RunClosed | Self::TooDeep | Self::RunBusy | Self::WouldBlock | Self::ShutDown => None,
        }
    }
}

/// Why a run did not end well: what its `on_*_error` carries, and what a model's call returns.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The run was dropped before its end: its stream or future was, or its task was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A handler that was registered with `raise_error` stopped it.
    #[error("stopped: {0}")]
    Stopped(#[source] HandlerFailure),
    /// What ran failed. [`RunError::cause`] gives its own error type back.
    #[error(transparent)]
    Failed(SharedError),
}

impl RunError {
    /// What ran failed, because of `cause`; a cause that is a `RunError` is taken as it is.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        match cause.into().downcast::<Self>() {
            Ok(error) => *error,
            Err(cause) => Self::Failed(Arc::from(cause)),
        }
    }

    /// The error of what ran, if it is an `E`.
    #[must_use]
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Failed(cause) => cause.downcast_ref(),
            Self::Cancelled | Self::Stopped(_) => None,
        }
    }
}

impl From<EmitError> for RunError {
    fn from(error: EmitError) -> Self {
        match error {
            EmitError::Raised(failure) => Self::Stopped(failure),
            EmitError::RunClosed => Self::Cancelled,
            other => Self::Failed(Arc::new(other)),
        }
    }
}

/// A start that came back with an error; its run has started all the same, and is in here.
///
/// Dropping it gives the run up, which then ends as [`RunError::Stopped`]; [`into_run`](Self::into_run) goes on.
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct StartError<Run> {
    run: Run,
    #[source]
    error: EmitError,
}

impl<Run> StartError<Run> {
    pub(crate) fn new(run: Run, error: EmitError) -> Self {
        Self { run, error }
    }

    /// What went wrong.
    #[must_use]
    pub fn error(&self) -> &EmitError {
        &self.error
    }

    /// The run, to go on with.
    #[must_use]
    pub fn into_run(self) -> Run {
        self.run
    }

    /// Both.
    #[must_use]
    pub fn into_parts(self) -> (Run, EmitError) {
        (self.run, self.error)
    }
}

impl<Run> fmt::Debug for StartError<Run> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<Run> From<StartError<Run>> for RunError {
    fn from(error: StartError<Run>) -> Self {
        error.error.into()
    }
}

/// A panic's message, as far as it is text.
#[cfg(feature = "std")]
pub(crate) fn panic_message(payload: &(dyn core::any::Any + Send)) -> Arc<str> {
    if let Some(message) = payload.downcast_ref::<&str>() {
        Arc::from(*message)
    } else if let Some(message) = payload.downcast_ref::<String>() {
        Arc::from(message.as_str())
    } else {
        Arc::from("a panic without a message")
    }
}
