//! Errors of handlers, of runs and of emitting.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;
use core::time::Duration;

use super::event::kind::EventKind;
use super::run_info::RunId;

/// An error behind a shared pointer: every handler and the emitter can get it.
pub type SharedError = Arc<dyn Error + Send + Sync>;

/// The result of a handler's method.
pub type HandlerResult = Result<(), HandlerError>;

/// Why a handler did not handle an event.
///
/// `?` converts any error into it: every [`Error`], `Box<dyn Error + Send + Sync>`,
/// `anyhow::Error`, `&str` and `String`. Like `anyhow::Error` it does not implement [`Error`],
/// because that would rule out this conversion.
pub struct HandlerError(Option<SharedError>);

impl HandlerError {
    /// The handler does not handle events of this kind. Every default method returns it, and it
    /// costs no allocation.
    ///
    /// The dispatcher remembers it and stops calling this handler for this kind. A handler that has
    /// returned another result for the kind before stays registered for it. So do not return it for
    /// a kind that the handler handles at other times: return `Ok(())` instead.
    #[must_use]
    pub const fn unhandled() -> Self {
        Self(None)
    }

    /// The handler failed, because of `cause`.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Some(Arc::from(cause.into())))
    }

    /// Returns `true` if the handler does not handle events of this kind.
    #[must_use]
    pub const fn is_unhandled(&self) -> bool {
        self.0.is_none()
    }

    /// The failure to report. `None` if the event is unhandled.
    pub(crate) fn into_failure_cause(self) -> Option<FailureCause> {
        let error = self.0?;
        // A list of handlers returns the panic of a member this way.
        match error.downcast_ref() {
            Some(FailureCause::Panicked(message)) => Some(FailureCause::Panicked(message.clone())),
            _ => Some(FailureCause::Error(error)),
        }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        Self::new(cause)
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Unhandled"),
            Some(cause) => fmt::Debug::fmt(cause, f),
        }
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("unhandled"),
            Some(cause) => fmt::Display::fmt(cause, f),
        }
    }
}

/// The failure of a handler on an event: the argument of
/// [`on_handler_failure`](crate::CallbackManager::on_handler_failure), and what a handler with
/// `raise_error` returns to the emitter.
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
    /// How the handler failed.
    #[source]
    pub cause: FailureCause,
}

impl HandlerFailure {
    pub(crate) fn new(
        handler: Arc<str>,
        event: EventKind,
        run_id: RunId,
        cause: FailureCause,
    ) -> Self {
        Self { handler, event, run_id, cause }
    }
}

/// How a handler failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FailureCause {
    /// It returned an error.
    #[error(transparent)]
    Error(SharedError),
    /// It panicked, with this message. Panics are caught with `std` and `panic = "unwind"` only.
    #[error("panicked: {0}")]
    Panicked(Arc<str>),
    /// It took longer than this time-out. An async call was dropped. A sync call goes on, and its
    /// result is ignored.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It was not called, because an earlier call that timed out has not returned yet.
    #[error("not called: a call that timed out has not returned yet")]
    Busy,
    /// It was not called, because the runtime was shut down before.
    #[error("not called: the runtime was shut down before the call")]
    RuntimeGone,
}

/// Why an event was not delivered as asked, or why the emitter should stop.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EmitError {
    /// A handler that is registered with `raise_error` failed. All other handlers have seen the
    /// event. Drop the run to stop: it then ends as [`RunError::Stopped`].
    Raised(Box<HandlerFailure>),
    /// The run had ended before: its parent ended, was dropped, or was shut down. The event was not
    /// emitted.
    RunClosed,
    /// The event was emitted inside a handler's call, for an event that was emitted inside a
    /// handler's call, and so on, 32 levels deep. The event was not emitted.
    TooDeep,
    /// The run is still delivering another event, whose handler emits this one. The event was not
    /// emitted.
    RunBusy,
    /// The runtime was shut down before a handler could be called. All handlers that could be
    /// called were called.
    RuntimeGone(Box<HandlerFailure>),
    /// `wait()` was called on a thread that must not block, because it drives the runtime. A start
    /// or an event was not emitted. An end is delivered, and only the waiting failed.
    WouldBlock,
    /// The callbacks were [shut down](crate::CallbackManager::shutdown). The event was not emitted.
    ShutDown,
    /// `flush` or `shutdown` was called inside a handler's call. It would wait for that call, which
    /// waits for it. Nothing was done.
    InsideCall,
    /// The manager was made without a timer, and `shutdown` needs one. Nothing was done.
    NoTimer,
    /// A run with this id is still open. The run was not started.
    DuplicateRunId,
}

impl EmitError {
    /// Returns the failure of the handler that caused it, if one did.
    #[must_use]
    pub fn failure(&self) -> Option<&HandlerFailure> {
        match self {
            Self::Raised(failure) | Self::RuntimeGone(failure) => Some(failure),
            _ => None,
        }
    }
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raised(failure) => return write!(f, "stopped: {failure}"),
            Self::RuntimeGone(failure) => {
                return write!(f, "the runtime was shut down: {failure}");
            }
            Self::RunClosed => "the run has already ended: its parent ended or was dropped",
            Self::TooDeep => "too many nested handler calls: a handler emits events for itself",
            Self::RunBusy => "the run is still delivering the event whose handler emits this one",
            Self::WouldBlock => "this thread drives the runtime and must not block: await instead",
            Self::ShutDown => "the callbacks have been shut down",
            Self::InsideCall => "inside a handler's call: flush or shut down outside of handlers",
            Self::NoTimer => "the manager has no timer: make it with a runtime that has one",
            Self::DuplicateRunId => "a run with this id is open: use a new id",
        })
    }
}

// By hand, so that the source is the `HandlerFailure` itself and not its box: users downcast it.
impl Error for EmitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure().map(|failure| failure as _)
    }
}

/// Why a run did not end well: the error of the `on_*_error` events and of a model's call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RunError {
    /// The run was dropped before its end, or its parent ended: its future or stream was dropped,
    /// or its task was cancelled.
    Cancelled,
    /// The code of the run panicked, with this message.
    Panicked(Arc<str>),
    /// A handler that is registered with `raise_error` stopped the run.
    Stopped(Box<HandlerFailure>),
    /// The code of the run failed. [`RunError::cause`] returns its own error type.
    Failed(SharedError),
    /// No event of the run came for too long, and it was given up.
    TimedOut,
    /// Another process goes on with the run. It is no cancellation: the run has not ended.
    HandedOver,
}

impl RunError {
    /// The code of the run failed because of `cause`. A cause that is a `RunError` is returned as it
    /// is.
    pub fn failed(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        match cause.into().downcast::<Self>() {
            Ok(error) => *error,
            Err(cause) => Self::Failed(Arc::from(cause)),
        }
    }

    /// The code of the run panicked with `message`.
    pub fn panicked(message: impl Into<Arc<str>>) -> Self {
        Self::Panicked(message.into())
    }

    /// Sets the [type](Self::error_type) of an error of the run's code. Other errors have theirs.
    ///
    /// It is for a client, which knows what its error means. There should be few different types.
    #[must_use]
    pub fn with_type(self, error_type: impl Into<Cow<'static, str>>) -> Self {
        match self {
            Self::Failed(cause) => {
                let cause = match cause.downcast_ref::<Typed>() {
                    Some(typed) => typed.cause.clone(),
                    None => cause,
                };
                Self::Failed(Arc::new(Typed { error_type: error_type.into(), cause }))
            }
            other => other,
        }
    }

    /// Returns what kind of error it is, for metrics: `429` or `timeout`, for example. There are few
    /// different types. An error of the run's code without a [type](Self::with_type) has the one that
    /// was recorded with it, or else `_OTHER`.
    #[must_use]
    pub fn error_type(&self) -> &str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Panicked(_) => "panic",
            Self::Stopped(_) => "stopped",
            Self::TimedOut => "timeout",
            Self::HandedOver => "handed_over",
            Self::Failed(cause) => match cause.downcast_ref::<Typed>() {
                Some(typed) => &typed.error_type,
                None => recorded_type(&**cause).unwrap_or("_OTHER"),
            },
        }
    }

    /// Returns the error of the run's code, if it is an `E`.
    #[must_use]
    pub fn cause<E: Error + 'static>(&self) -> Option<&E> {
        let Self::Failed(cause) = self else { return None };
        match cause.downcast_ref::<Typed>() {
            Some(typed) => typed.cause.downcast_ref(),
            None => cause.downcast_ref(),
        }
    }
}

/// The type that was recorded with an error.
#[cfg(feature = "serde")]
fn recorded_type<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    error.downcast_ref::<super::record::RecordedError>()?.error_type()
}

#[cfg(not(feature = "serde"))]
fn recorded_type<'a>(_: &'a (dyn Error + 'static)) -> Option<&'a str> {
    None
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::Stopped(failure) => write!(f, "stopped: {failure}"),
            Self::Failed(cause) => fmt::Display::fmt(cause, f),
            Self::TimedOut => f.write_str("timed out"),
            Self::HandedOver => f.write_str("handed over to another process"),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Cancelled | Self::Panicked(_) | Self::TimedOut | Self::HandedOver => None,
            Self::Stopped(failure) => Some(&**failure),
            // `Display` shows the error itself, so the chain continues behind it.
            Self::Failed(cause) => cause.source(),
        }
    }
}

/// An error of a run's code, with its type.
#[derive(Debug)]
struct Typed {
    error_type: Cow<'static, str>,
    cause: SharedError,
}

impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl Error for Typed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // `Display` shows the cause itself, so the chain continues behind it.
        self.cause.source()
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

/// Why a handler could not be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The options have a time-out, and the manager was made without a timer.
    #[error("a time-out needs a timer: make the manager with a runtime that has one")]
    NoTimer,
}
