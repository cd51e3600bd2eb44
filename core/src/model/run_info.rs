//! What an event says about its run: ids, parent, tags and metadata.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde_json::{Map, Value};
use uuid::{Builder, Uuid};

#[cfg(feature = "serde")]
use super::event::is_default;
use super::traceparent::TraceParent;

/// The id of a run, a UUID.
///
/// The ids that rappel makes are of version 7, so they sort by the time of the start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct RunId(Uuid);

impl RunId {
    /// Makes an id from the bytes of a UUID.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the bytes of the UUID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Makes a UUIDv7 (RFC 9562) from the time since 1970 and random bytes.
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

/// Parses the text that `Display` writes.
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

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is not a run id: write a uuid")]
pub struct RunIdError {
    _private: (),
}

/// The kind of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
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
    /// No run: the kind of a custom event that is emitted on a manager.
    None,
}

/// What handlers know about a run. It is made at the run's start and shared by all of its events.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RunInfo {
    pub(crate) id: RunId,
    pub(crate) parent_id: Option<RunId>,
    pub(crate) root_id: RunId,
    pub(crate) kind: RunKind,
    pub(crate) name: Arc<str>,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) tags: Box<[String]>,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) metadata: Map<String, Value>,
    /// Absent for most runs.
    #[cfg_attr(feature = "serde", serde(flatten, skip_serializing_if = "Option::is_none"))]
    pub(crate) more: Option<Box<MoreInfo>>,
}

/// What few runs have.
#[derive(Debug, Clone, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub(crate) struct MoreInfo {
    /// The runs above the parent, outermost first.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub(crate) above_parent: Option<Arc<[RunId]>>,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub(crate) traceparent: Option<TraceParent>,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub(crate) remote_parent: bool,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub(crate) replayed: bool,
    /// Not part of the run: it is another one when the trace is delivered again.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) delivery: Option<Box<RemoteDelivery>>,
}

/// How a trace came to this process, if a broker delivers traces to it: see
/// [`RunInfo::remote_delivery`].
///
/// A trace may be delivered more than once, even to a process that no longer owns its partition. A
/// store is safe from such a process in two ways. It rejects an `epoch` that is lower than the last one
/// of the same `partition`. Or it replaces what it has for the same run and
/// [sequence number](crate::EventContext::sequence), and its handler skips
/// [made-up](crate::EventContext::is_made_up) events and does not coalesce tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RemoteDelivery {
    /// The part of the traces that this one belongs to.
    pub partition: u32,
    /// The number of times that the partition has been taken by a process. The process with the
    /// highest one owns it.
    pub epoch: u64,
    /// The number of times that the trace has been begun, with this one: 1 for the first.
    pub attempt: u32,
    /// Whether the trace, or a part of it, may have been delivered before.
    pub replayed: bool,
}

impl RemoteDelivery {
    /// The first attempt of a trace in that partition and epoch, which was not delivered before.
    #[must_use]
    pub const fn new(partition: u32, epoch: u64) -> Self {
        Self { partition, epoch, attempt: 1, replayed: false }
    }

    /// Sets the attempt. From the second one on, the trace is replayed.
    #[must_use]
    pub const fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self.replayed = attempt > 1;
        self
    }
}

/// Maximum number of runs above the parent that a run knows: the outermost and the nearest.
const MOST_ABOVE: usize = 127;

impl RunInfo {
    /// Returns the run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Returns the id of the parent run. `None` for a root run.
    #[must_use]
    pub fn parent_id(&self) -> Option<RunId> {
        self.parent_id
    }

    /// Returns the id of the outermost run. A root run returns its own id.
    #[must_use]
    pub fn root_id(&self) -> RunId {
        self.root_id
    }

    /// Returns the kind of the run.
    #[must_use]
    pub fn kind(&self) -> RunKind {
        self.kind
    }

    /// Returns the name of the model, chain, tool or retriever.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the run's tags, in order.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// Returns the run's metadata.
    #[must_use]
    pub fn metadata(&self) -> &Map<String, Value> {
        &self.metadata
    }

    /// Sets the name, the tags and the metadata, for
    /// [`EventContext::with_run`](crate::EventContext::with_run). The run itself keeps its own.
    #[must_use]
    pub fn with_labels(
        mut self,
        name: impl Into<Arc<str>>,
        tags: impl IntoIterator<Item = String>,
        metadata: Map<String, Value>,
    ) -> Self {
        self.name = name.into();
        self.tags = tags.into_iter().collect();
        self.metadata = metadata;
        self
    }

    /// Returns the ids of the runs that this run is inside, outermost first. The last one is the
    /// parent.
    ///
    /// There are at most 128: the outermost and the 127 nearest. Under a remote parent there are
    /// that parent and its outermost run, because the runs between them are not known.
    pub fn parents(&self) -> impl Iterator<Item = RunId> + '_ {
        self.above_parent().iter().copied().chain(self.parent_id)
    }

    /// Returns the W3C trace context that the run's start was given.
    #[must_use]
    pub fn traceparent(&self) -> Option<&TraceParent> {
        self.more.as_ref()?.traceparent.as_ref()
    }

    /// Returns `true` if the parent was given to the run's start as a parent in another process.
    #[must_use]
    pub fn has_remote_parent(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.remote_parent)
    }

    /// Returns `true` if the run is replayed from records.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.replayed)
    }

    /// Returns how the trace came to this process, if a broker has delivered it: see
    /// `Replayer::delivered`.
    #[must_use]
    pub fn remote_delivery(&self) -> Option<RemoteDelivery> {
        self.more.as_ref()?.delivery.as_deref().copied()
    }

    fn above_parent(&self) -> &[RunId] {
        self.more.as_ref().and_then(|more| more.above_parent.as_deref()).unwrap_or_default()
    }

    /// Sets what few runs have.
    pub(crate) fn more(&mut self) -> &mut MoreInfo {
        self.more.get_or_insert_default()
    }

    /// The runs above the parent of a run that is inside this one.
    pub(crate) fn above_child(&self) -> Option<Arc<[RunId]>> {
        let parent = self.parent_id?;
        let above = self.above_parent();
        let Some((first, rest)) = above.split_first() else { return Some(Arc::from([parent])) };
        // The outermost run stays, and the one below it goes.
        let skipped = usize::from(above.len() >= MOST_ABOVE);
        let rest = rest.get(skipped..).unwrap_or_default();
        Some([*first].into_iter().chain(rest.iter().copied()).chain([parent]).collect())
    }
}
