//! What an entry of a stream holds.

use std::sync::Arc;

use rappel_core::{EventRecord, RunId};

/// One entry of a partition's stream: a record of an event, with the fields that a worker reads before
/// it decodes the record.
///
/// In Redis an entry has four fields. `root`, `source` and `tseq` are text. The fourth is `record`, the
/// JSON of an [`EventRecord`], or `lost`, with any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The id of the trace's root run.
    pub root: RunId,
    /// The name of the publisher that recorded the event. It is unique for each publisher.
    pub source: Arc<str>,
    /// The number of the record among the records of its trace and source, from 0.
    pub tseq: u64,
    /// The record, or a mark that the rest of the trace is lost.
    pub body: Body,
}

/// The body of an [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A record, as JSON.
    Record(Arc<[u8]>),
    /// The publisher had no room for the rest of the trace.
    Lost,
}

/// The fields of an entry as they are in the stream: names and values, which are not checked.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl Entry {
    /// Returns the names and the values of the fields.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, Vec<u8>); 4] {
        let (name, body) = match &self.body {
            Body::Record(json) => ("record", json.to_vec()),
            Body::Lost => ("lost", b"full".to_vec()),
        };
        [
            ("root", self.root.to_string().into_bytes()),
            ("source", self.source.as_bytes().to_vec()),
            ("tseq", self.tseq.to_string().into_bytes()),
            (name, body),
        ]
    }
}

/// An entry that was read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) root: RunId,
    pub(crate) source: Arc<str>,
    pub(crate) tseq: u64,
    /// Absent if the rest of the trace is lost.
    pub(crate) record: Option<Box<EventRecord>>,
}

/// An entry that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The trace, if at least that can be read.
    pub(crate) root: Option<RunId>,
    pub(crate) why: String,
}

/// Decodes the fields of an entry.
pub(crate) fn read(fields: &Fields) -> Result<Read, Unreadable> {
    let field = |name: &str| {
        fields.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
    };
    let text = |name: &str| field(name).and_then(|value| std::str::from_utf8(value).ok());
    let root: Option<RunId> = text("root").and_then(|root| root.parse().ok());
    let unreadable = |why: String| Unreadable { root, why };
    let missing = |name: &str| unreadable(format!("the entry has no usable field `{name}`"));
    let source: Arc<str> = text("source").ok_or_else(|| missing("source"))?.into();
    let tseq = text("tseq").and_then(|tseq| tseq.parse().ok()).ok_or_else(|| missing("tseq"))?;
    let known = root.ok_or_else(|| missing("root"))?;
    if field("lost").is_some() {
        return Ok(Read { root: known, source, tseq, record: None });
    }
    let json = field("record").ok_or_else(|| missing("record"))?;
    let record: EventRecord = serde_json::from_slice(json)
        .map_err(|error| unreadable(format!("the field `record`: {error}")))?;
    if record.root != known || record.tseq != tseq || record.source != source {
        return Err(unreadable("the fields do not fit the record".into()));
    }
    Ok(Read { root: known, source, tseq, record: Some(Box::new(record)) })
}

/// The trace of an entry, if it can be read.
pub(crate) fn root_of(fields: &Fields) -> Option<RunId> {
    let (_, root) = fields.iter().find(|(name, _)| name == b"root")?;
    std::str::from_utf8(root).ok()?.parse().ok()
}
