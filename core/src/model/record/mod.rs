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
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::context::{EventContext, Losses};
use super::event::{Event, EventKind, is_default};
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

/// A record as it is written, with a payload that is borrowed, and as it is read, with any JSON.
#[derive(Serialize, Deserialize)]
struct Wire<'a, D> {
    v: u32,
    kind: Cow<'a, str>,
    /// `None` if it is not known to this version.
    #[serde(deserialize_with = "known_run_kind")]
    run_kind: Option<RunKind>,
    run: RunId,
    parent: Option<RunId>,
    root: RunId,
    seq: Option<u64>,
    tseq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_seq: Option<u64>,
    source: Cow<'a, str>,
    time: Option<u64>,
    #[serde(default, skip_serializing_if = "is_default")]
    lost: Losses,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Cow<'a, [String]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'a, Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parents: Option<Vec<RunId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<TraceParent>,
    #[serde(default, skip_serializing_if = "is_default")]
    remote_parent: bool,
    #[serde(default)]
    data: D,
}

fn known_run_kind<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RunKind>, D::Error> {
    Ok(serde_json::from_value(Value::String(String::deserialize(from)?)).ok())
}

impl Serialize for EventRecordRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (cx, kind) = (self.cx, self.event.kind());
        let about = has_about(kind);
        let wire = Wire {
            v: VERSION,
            kind: kind.method().into(),
            run_kind: Some(cx.kind()),
            run: cx.id(),
            parent: self.parent(),
            root: self.root(),
            seq: cx.sequence(),
            tseq: self.tseq,
            custom_seq: self.custom_seq,
            source: (&*self.source).into(),
            time: cx.time().map(in_micros),
            lost: self.losses,
            name: about.then(|| (&**self.name()).into()),
            tags: about.then(|| cx.tags().into()),
            metadata: about.then(|| Cow::Borrowed(cx.metadata())),
            parents: about.then(|| cx.parents().collect()),
            traceparent: cx.traceparent().copied().filter(|_| about),
            remote_parent: about && cx.has_remote_parent(),
            data: Payload(self.event),
        };
        wire.serialize(serializer)
    }
}

impl Serialize for EventRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(event) = &self.event else {
            let text =
                "a record of an unknown kind cannot be written: keep the text it was read from";
            return Err(serde::ser::Error::custom(text));
        };
        let nothing = About::default();
        let about = self.about.as_ref().unwrap_or(&nothing);
        let about = has_about(event.kind()).then_some(about);
        let wire = Wire {
            v: VERSION,
            kind: event.kind().method().into(),
            run_kind: Some(self.run_kind),
            run: self.run,
            parent: self.parent,
            root: self.root,
            seq: self.seq,
            tseq: self.tseq,
            custom_seq: self.custom_seq,
            source: (&*self.source).into(),
            time: self.time.map(in_micros),
            lost: self.lost,
            name: about.map(|about| (&*about.name).into()),
            tags: about.map(|about| about.tags.as_slice().into()),
            metadata: about.map(|about| Cow::Borrowed(&about.metadata)),
            parents: about.map(|about| about.parents.clone()),
            traceparent: about.and_then(|about| about.traceparent),
            remote_parent: about.is_some_and(|about| about.remote_parent),
            data: Payload(event),
        };
        wire.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EventRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read: Wire<'_, Value> = Wire::deserialize(deserializer)?;
        if read.v == 0 {
            return Err(D::Error::custom("there is no version 0 of an event's record"));
        }
        let kind = kind_named(&read.kind);
        let event = match (kind, read.run_kind) {
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
            name: name.into(),
            tags: read.tags.unwrap_or_default().into(),
            metadata: read.metadata.unwrap_or_default().into_owned(),
            parents: read.parents.unwrap_or_default(),
            traceparent: read.traceparent,
            remote_parent: read.remote_parent,
        });
        Ok(Self {
            kind: kind.map_or(Cow::Owned(read.kind.into()), |kind| kind.method().into()),
            run_kind: read.run_kind.unwrap_or(RunKind::None),
            run: read.run,
            parent: read.parent,
            root: read.root,
            seq: read.seq,
            tseq: read.tseq,
            custom_seq: read.custom_seq,
            source: read.source.into(),
            time: read.time.map(Duration::from_micros),
            lost: read.lost,
            about,
            event,
        })
    }
}
