//! Errors as data.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::error::{FailureCause, HandlerFailure, RunError, SharedError};
use crate::model::event::EventKind;
use crate::model::run_info::RunId;

/// An error that was read from a record. Its type is gone; what it said is there.
///
/// It displays its message. Its [`source`](Error::source) is the first of its causes, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedError {
    message: String,
    error_type: Option<String>,
    cause: Option<Box<RecordedError>>,
}

impl RecordedError {
    fn new(message: String, error_type: Option<String>, causes: Vec<String>) -> Self {
        let cause = causes
            .into_iter()
            .rev()
            .fold(None, |cause, message| Some(Box::new(Self { message, error_type: None, cause })));
        Self { message, error_type, cause }
    }

    /// Returns the class of the error, as the program that recorded it named it.
    #[must_use]
    pub fn error_type(&self) -> Option<&str> {
        self.error_type.as_deref()
    }
}

impl fmt::Display for RecordedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for RecordedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// An error as it is written.
#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    error_type: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    causes: Vec<String>,
    /// The handler that stopped the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handler: Option<WireHandler>,
}

#[derive(Serialize, Deserialize)]
struct WireHandler {
    name: Arc<str>,
    event: EventKind,
    run: RunId,
}

/// What [`RunError::error_type`] is of an error without a type. It is not written.
const UNTYPED: &str = "_OTHER";

/// Maximum number of causes that are written of an error.
const MOST_CAUSES: usize = 32;

impl Wire {
    fn new(kind: &str, message: String) -> Self {
        Self { kind: kind.into(), error_type: None, message, causes: Vec::new(), handler: None }
    }

    fn caused_by(mut self, mut cause: Option<&(dyn Error + 'static)>) -> Self {
        while let Some(error) = cause.filter(|_| self.causes.len() < MOST_CAUSES) {
            self.causes.push(error.to_string());
            cause = error.source();
        }
        self
    }

    fn of(error: &RunError) -> Self {
        match error {
            RunError::Cancelled => Self::new("cancelled", error.to_string()),
            RunError::TimedOut => Self::new("timed_out", error.to_string()),
            RunError::HandedOver => Self::new("handed_over", error.to_string()),
            RunError::Panicked(message) => Self::new("panicked", message.to_string()),
            RunError::Failed(cause) => {
                let error_type = Some(error.error_type()).filter(|own| *own != UNTYPED);
                Self { error_type: error_type.map(String::from), ..Self::of_cause(cause) }
            }
            RunError::Stopped(failure) => {
                let cause = &failure.cause;
                let wire = Self::new("stopped", cause.to_string()).caused_by(cause.source());
                let handler = WireHandler {
                    name: failure.handler.clone(),
                    event: failure.event,
                    run: failure.run_id,
                };
                Self { handler: Some(handler), ..wire }
            }
        }
    }

    fn of_cause(cause: &SharedError) -> Self {
        let recorded = cause.downcast_ref::<RecordedError>();
        let error_type = recorded.and_then(|error| error.error_type.clone());
        let wire = Self::new("failed", cause.to_string()).caused_by(cause.source());
        Self { error_type, ..wire }
    }

    fn into_error(self) -> RunError {
        match (&*self.kind, self.handler) {
            ("cancelled", _) => RunError::Cancelled,
            ("timed_out", _) => RunError::TimedOut,
            ("handed_over", _) => RunError::HandedOver,
            ("panicked", _) => RunError::Panicked(self.message.into()),
            ("stopped", Some(WireHandler { name, event, run })) => {
                let cause = RecordedError::new(self.message, self.error_type, self.causes);
                let cause = FailureCause::Error(Arc::new(cause));
                RunError::Stopped(Box::new(HandlerFailure::new(name, event, run, cause)))
            }
            // Also a kind of a later version.
            _ => {
                let error_type = self.error_type.clone();
                let error = RecordedError::new(self.message, self.error_type, self.causes);
                let error = RunError::Failed(Arc::new(error));
                match error_type {
                    Some(error_type) => error.with_type(error_type),
                    None => error,
                }
            }
        }
    }
}

/// Written as `{"kind", "type", "message", "causes"}`. A kind of a later version is read as
/// [`RunError::Failed`].
impl Serialize for RunError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire::of(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RunError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(Wire::into_error)
    }
}

/// The cause of a retry, written as the error of a run is.
pub(crate) mod shared_error {
    use super::{
        Arc, Deserialize, Deserializer, RunError, Serialize, Serializer, SharedError, Wire,
    };

    pub(crate) fn serialize<S: Serializer>(
        error: &SharedError,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let wire = match error.downcast_ref() {
            Some(error) => Wire::of(error),
            None => Wire::of_cause(error),
        };
        wire.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SharedError, D::Error> {
        Ok(match RunError::deserialize(deserializer)? {
            RunError::Failed(cause) => cause,
            error => Arc::new(error),
        })
    }
}
