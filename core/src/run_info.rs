//! To whom an event happened: a run's ids, parents, tags and metadata.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde_json::{Map, Value};
use uuid::{Builder, Uuid};

/// The id of a run: a UUID; of version 7 where rappel made it, so that ids sort by the time of their runs' starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct RunId(Uuid);

impl RunId {
    /// An id from the bytes of a UUID.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The bytes of the UUID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// A UUIDv7 (RFC 9562) of that time since 1970 and those random bytes.
    #[must_use]
    pub fn v7(time: Duration, random: [u8; 10]) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl From<[u8; 16]> for RunId {
    fn from(bytes: [u8; 16]) -> Self {
        Self::from_bytes(bytes)
    }
}

/// Reads what `Display` writes.
impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        Uuid::try_parse(text).map(Self).map_err(|_| RunIdError { _private: () })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0.as_hyphenated(), f)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run id is a uuid")]
pub struct RunIdError {
    _private: (),
}

/// What kind of thing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunKind {
    /// A text model.
    Llm,
    /// A chat model.
    ChatModel,
    /// A chain of steps.
    Chain,
    /// A tool.
    Tool,
    /// A retriever.
    Retriever,
    /// Nothing: a custom event that a manager sends belongs to no run.
    None,
}

/// A run, as its events tell of it: made once at the start, and shared by all of them.
#[derive(Debug, Clone)]
pub struct RunInfo {
    pub(crate) id: RunId,
    pub(crate) parent_id: Option<RunId>,
    pub(crate) root_id: RunId,
    pub(crate) kind: RunKind,
    pub(crate) name: Arc<str>,
    pub(crate) tags: Vec<String>,
    pub(crate) metadata: Map<String, Value>,
}

impl RunInfo {
    /// The run that this code is in: inside a future that is a run ([`InRun`](crate::InRun)), and inside a handler that was called from there,
    /// on whatever thread. `None` where the code is in no run.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn current() -> Option<Self> {
        crate::context::current().run.map(|facts| facts.info.clone())
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    /// The id of the run that this one is a part of.
    #[must_use]
    pub fn parent_id(&self) -> Option<RunId> {
        self.parent_id
    }

    /// The id of the outermost run; of that itself its own.
    #[must_use]
    pub fn root_id(&self) -> RunId {
        self.root_id
    }

    /// What kind of thing runs.
    #[must_use]
    pub fn kind(&self) -> RunKind {
        self.kind
    }

    /// The name of what runs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The run's tags, in order.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The run's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }
}
