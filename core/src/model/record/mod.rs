//! Events as data: the versioned envelope of one event, which can be written and read.

mod error;
mod recorder;
#[cfg(test)]
mod tests;
mod wire;

pub use error::RecordedError;
pub(crate) use error::shared_error;
pub use recorder::Recorder;
pub(crate) use wire::micros;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::context::{EventContext, Losses};
use super::event::{Event, EventKind};
use super::run_info::{RunId, RunKind};
use super::traceparent::TraceParent;
use wire::{Payload, event_of, kind_named, micros::in_micros};

/// One event as data, with what it says about its run. Version 1.
///
/// As JSON it is an object whose fields `docs/events.md` describes. It is written by
/// [`Recorder`] and replayed by [`Replayer`](crate::record::Replayer).
///
/// Reading is lenient: unknown fields are skipped, and an event of an unknown kind is read with
/// [`event`](Self::event) `None`. Neither is written back. Writing a record without an event is an
/// error.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EventRecord {
    /// The name of the kind: `on_llm_start`, for example. It may be a kind of a later version.
    pub kind: Cow<'static, str>,
    /// The kind of the run, or [`RunKind::None`] for a custom event that was emitted on a manager.
    pub run_kind: RunKind,
    /// The run's id.
    pub run: RunId,
    /// The parent's id. `None` for a root run.
    pub parent: Option<RunId>,
    /// The id of the outermost run.
    pub root: RunId,
    /// The event's number within its run, from 0. `None` for a custom event that was emitted on a
    /// manager.
    pub seq: Option<u64>,
    /// The record's number within its trace and source, from 0.
    pub tseq: u64,
    /// The number of a custom event that was emitted on a manager, among all those of its source,
    /// from 0. `None` for other events.
    pub custom_seq: Option<u64>,
    /// The recorder that made the record.
    pub source: Arc<str>,
    /// When the event was emitted, as the time since 1970, in whole microseconds. `None` if the
    /// event has no time: see [`EventContext::time`].
    pub time: Option<Duration>,
    /// What the recorder did not get before this event.
    pub lost: Losses,
    /// What starts, ends and custom events say about the run. `None` on other events.
    pub about: Option<About>,
    /// The event. `None` if its kind, or the kind of its run, is not known to this version.
    pub event: Option<Event>,
}

/// What the record of a start, an end or a custom event says about its run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct About {
    /// The run's name. Of a custom event, its own name.
    pub name: Arc<str>,
    /// The tags.
    pub tags: Vec<String>,
    /// The metadata.
    pub metadata: Map<String, Value>,
    /// The runs that the run is inside, outermost first. See
    /// [`RunInfo::parents`](crate::RunInfo::parents).
    pub parents: Vec<RunId>,
    /// The W3C trace context that the run's start was given.
    pub traceparent: Option<TraceParent>,
    /// Whether the parent is in another process.
    pub remote_parent: bool,
}

/// The record of an event that a handler got, which borrows the event. It is written as an
/// [`EventRecord`] is.
#[derive(Debug, Clone)]
pub struct EventRecordRef<'a> {
    source: Arc<str>,
    tseq: u64,
    custom_seq: Option<u64>,
    losses: Losses,
    event: &'a Event,
    cx: &'a EventContext,
}

/// The version that this crate writes.
const VERSION: u32 = 1;

/// Whether the record of such an event says about its run what [`About`] has.
fn has_about(kind: EventKind) -> bool {
    kind.is_start() || kind.is_end() || kind == EventKind::CustomEvent
}

impl EventRecordRef<'_> {
    /// Returns the event.
    #[must_use]
    pub fn event(&self) -> &Event {
        self.event
    }

    /// Returns the event's context.
    #[must_use]
    pub fn context(&self) -> &EventContext {
        self.cx
    }

    /// Returns the record's number within its trace and source.
    #[must_use]
    pub fn tseq(&self) -> u64 {
        self.tseq
    }

    /// Returns the id of the outermost run.
    #[must_use]
    pub fn root(&self) -> RunId {
        recorder::root_of(self.cx)
    }

    /// Copies it to a record that borrows nothing.
    #[must_use]
    pub fn to_record(&self) -> EventRecord {
        let cx = self.cx;
        let about = has_about(self.event.kind()).then(|| About {
            name: self.name().clone(),
            tags: cx.tags().to_vec(),
            metadata: cx.metadata().clone(),
            parents: cx.parents().collect(),
            traceparent: cx.traceparent().copied(),
            remote_parent: cx.has_remote_parent(),
        });
        EventRecord {
            kind: self.event.kind().method().into(),
            run_kind: cx.kind(),
            run: cx.id(),
            parent: self.parent(),
            root: self.root(),
            seq: cx.sequence(),
            tseq: self.tseq,
            custom_seq: self.custom_seq,
            source: self.source.clone(),
            time: cx.time().map(in_micros).map(Duration::from_micros),
            lost: self.losses,
            about,
            event: Some(self.event.clone()),
        }
    }

    /// The name of a custom event is its own.
    fn name(&self) -> &Arc<str> {
        match self.event {
            Event::CustomEvent(event) => &event.name,
            _ => &self.cx.name,
        }
    }

    /// A custom event on a manager has the parents of the manager's run.
    fn parent(&self) -> Option<RunId> {
        self.cx.parents().last()
    }
}

/// The fields of a record, borrowed.
struct Fields<'a, P> {
    run_kind: RunKind,
    run: RunId,
    parent: Option<RunId>,
    root: RunId,
    seq: Option<u64>,
    tseq: u64,
    custom_seq: Option<u64>,
    source: &'a str,
    time: Option<Duration>,
    lost: Losses,
    name: &'a str,
    tags: &'a [String],
    metadata: &'a Map<String, Value>,
    parents: P,
    traceparent: Option<&'a TraceParent>,
    remote_parent: bool,
    event: &'a Event,
}

impl<P: Iterator<Item = RunId>> Fields<'_, P> {
    fn serialize<S: Serializer>(self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.event.kind();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("v", &VERSION)?;
        map.serialize_entry("kind", &kind)?;
        map.serialize_entry("run_kind", &self.run_kind)?;
        map.serialize_entry("run", &self.run)?;
        map.serialize_entry("parent", &self.parent)?;
        map.serialize_entry("root", &self.root)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("tseq", &self.tseq)?;
        if let Some(number) = self.custom_seq {
            map.serialize_entry("custom_seq", &number)?;
        }
        map.serialize_entry("source", self.source)?;
        map.serialize_entry("time", &self.time.map(in_micros))?;
        if !self.lost.is_none() {
            map.serialize_entry("lost", &self.lost)?;
        }
        if has_about(kind) {
            map.serialize_entry("name", self.name)?;
            map.serialize_entry("tags", self.tags)?;
            map.serialize_entry("metadata", self.metadata)?;
            map.serialize_entry("parents", &self.parents.collect::<Vec<RunId>>())?;
            if let Some(traceparent) = self.traceparent {
                map.serialize_entry("traceparent", traceparent)?;
            }
            if self.remote_parent {
                map.serialize_entry("remote_parent", &true)?;
            }
        }
        map.serialize_entry("data", &Payload(self.event))?;
        map.end()
    }
}

impl Serialize for EventRecordRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let cx = self.cx;
        let fields = Fields {
            run_kind: cx.kind(),
            run: cx.id(),
            parent: self.parent(),
            root: self.root(),
            seq: cx.sequence(),
            tseq: self.tseq,
            custom_seq: self.custom_seq,
            source: &self.source,
            time: cx.time(),
            lost: self.losses,
            name: self.name(),
            tags: cx.tags(),
            metadata: cx.metadata(),
            parents: cx.parents(),
            traceparent: cx.traceparent(),
            remote_parent: cx.has_remote_parent(),
            event: self.event,
        };
        fields.serialize(serializer)
    }
}

impl Serialize for EventRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(event) = &self.event else {
            let text =
                "a record of an unknown kind cannot be written: keep the text it was read from";
            return Err(serde::ser::Error::custom(text));
        };
        let none = About::default();
        let about = self.about.as_ref().unwrap_or(&none);
        let fields = Fields {
            run_kind: self.run_kind,
            run: self.run,
            parent: self.parent,
            root: self.root,
            seq: self.seq,
            tseq: self.tseq,
            custom_seq: self.custom_seq,
            source: &self.source,
            time: self.time,
            lost: self.lost,
            name: &about.name,
            tags: &about.tags,
            metadata: &about.metadata,
            parents: about.parents.iter().copied(),
            traceparent: about.traceparent.as_ref(),
            remote_parent: about.remote_parent,
            event,
        };
        fields.serialize(serializer)
    }
}

/// A record as it is read.
#[derive(Deserialize)]
struct Read {
    v: u32,
    kind: String,
    run_kind: String,
    run: RunId,
    parent: Option<RunId>,
    root: RunId,
    seq: Option<u64>,
    tseq: u64,
    custom_seq: Option<u64>,
    source: Arc<str>,
    time: Option<u64>,
    #[serde(default)]
    lost: Losses,
    name: Option<Arc<str>>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(default)]
    parents: Vec<RunId>,
    traceparent: Option<TraceParent>,
    #[serde(default)]
    remote_parent: bool,
    #[serde(default)]
    data: Value,
}

impl<'de> Deserialize<'de> for EventRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Read::deserialize(deserializer)?;
        if read.v == 0 {
            return Err(D::Error::custom("there is no version 0 of an event's record"));
        }
        let run_kind: Option<RunKind> = serde_json::from_value(read.run_kind.into()).ok();
        let kind = kind_named(&read.kind);
        let event = match (kind, run_kind) {
            (Some(kind), Some(_)) => match event_of(kind, read.data) {
                Ok(event) => Some(event),
                // A later version may write what this one cannot read.
                Err(_) if read.v > VERSION => None,
                Err(error) => {
                    return Err(D::Error::custom(format_args!(
                        "the data of `{}`: {error}",
                        read.kind
                    )));
                }
            },
            _ => None,
        };
        let about = read.name.map(|name| About {
            name,
            tags: read.tags,
            metadata: read.metadata,
            parents: read.parents,
            traceparent: read.traceparent,
            remote_parent: read.remote_parent,
        });
        Ok(Self {
            kind: kind.map_or(Cow::Owned(read.kind), |kind| Cow::Borrowed(kind.method())),
            run_kind: run_kind.unwrap_or(RunKind::None),
            run: read.run,
            parent: read.parent,
            root: read.root,
            seq: read.seq,
            tseq: read.tseq,
            custom_seq: read.custom_seq,
            source: read.source,
            time: read.time.map(Duration::from_micros),
            lost: read.lost,
            about,
            event,
        })
    }
}
