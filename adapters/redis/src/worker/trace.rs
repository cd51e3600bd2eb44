//! One open trace, as a worker keeps it.

use std::collections::VecDeque;
use std::sync::Arc;

use rappel_core::{EventKind, EventRecord, RunError, RunId, RunKind};

use crate::broker::Begun;
use crate::entry::Read;
use crate::id::StreamId;

/// What is to be done for a trace.
#[derive(Debug)]
pub(crate) enum Item {
    Record(Box<EventRecord>),
    /// The last one.
    Close(Why),
}

/// Why a trace is closed before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Incomplete,
    Orphan,
    Old,
}

/// The error with which the open runs of a trace end if records of the trace are missing.
///
/// The records were trimmed, cannot be read, or were refused by a publisher whose buffer was full.
/// [`RunError::cause`] returns this value. The error's type is `incomplete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("records of the trace are missing")]
#[non_exhaustive]
pub struct Incomplete;

impl Why {
    /// The error that the open runs end with.
    pub(crate) fn error(self) -> RunError {
        match self {
            Self::Incomplete => RunError::failed(Incomplete).with_type("incomplete"),
            Self::Orphan => RunError::Cancelled,
            Self::Old => RunError::TimedOut,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) first: StreamId,
    /// The last entry that was taken.
    pub(crate) last: StreamId,
    strands: Vec<Strand>,
    pub(crate) queue: VecDeque<Item>,
    /// Absent until it is begun.
    pub(crate) begun: Option<Begun>,
    /// It is replayed alone, until that has gone well.
    pub(crate) suspect: bool,
    pub(crate) busy: bool,
    pub(crate) is_ready: bool,
    pub(crate) closing: Option<Why>,
}

/// What one publisher has sent of a trace.
#[derive(Debug)]
struct Strand {
    source: Arc<str>,
    next: u64,
    open: usize,
    /// The runs that began it: more than one if it began again after all its runs had ended.
    firsts: Vec<RunId>,
}

/// How a record fits what came before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Next,
    Repeated,
    /// Records between are missing.
    Gap,
}

impl Trace {
    pub(crate) fn new(first: StreamId) -> Self {
        Self {
            first,
            last: first.before(),
            strands: Vec::new(),
            queue: VecDeque::new(),
            begun: None,
            suspect: false,
            busy: false,
            is_ready: false,
            closing: None,
        }
    }

    /// Whether nothing is missing and all runs have ended.
    fn is_whole(&self) -> bool {
        !self.strands.is_empty() && self.strands.iter().all(|strand| strand.open == 0)
    }

    /// Whether it is handled to its end.
    pub(crate) fn is_over(&self) -> bool {
        !self.busy && self.queue.is_empty() && (self.closing.is_some() || self.is_whole())
    }

    /// The publishers that have open runs in it.
    pub(crate) fn open_sources(&self) -> Vec<Arc<str>> {
        let open = self.strands.iter().filter(|strand| strand.open > 0);
        open.map(|strand| strand.source.clone()).collect()
    }

    pub(crate) fn firsts(&self) -> Vec<RunId> {
        self.strands.iter().flat_map(|strand| strand.firsts.iter().copied()).collect()
    }

    /// Notes a record.
    pub(crate) fn fit(&mut self, read: &Read) -> Fit {
        let strand = self.strands.iter_mut().find(|strand| strand.source == read.source);
        let Some(strand) = strand else {
            if read.tseq != 0 {
                return Fit::Gap;
            }
            let mut strand =
                Strand { source: read.source.clone(), next: 0, open: 0, firsts: Vec::new() };
            strand.begin(read);
            self.strands.push(strand);
            return Fit::Next;
        };
        if read.tseq == 0 && strand.open == 0 && begins_again(read, &strand.firsts) {
            strand.begin(read);
            return Fit::Next;
        }
        match read.tseq.cmp(&strand.next) {
            std::cmp::Ordering::Less => Fit::Repeated,
            std::cmp::Ordering::Equal => {
                strand.note(read);
                Fit::Next
            }
            std::cmp::Ordering::Greater => Fit::Gap,
        }
    }
}

/// Whether a record numbered 0 begins a strand that is not known by its first runs.
pub(crate) fn begins_again(read: &Read, firsts: &[RunId]) -> bool {
    let Some(record) = &read.record else { return false };
    let is_start = kind_of(record).is_some_and(EventKind::is_start);
    // A custom event of no run is a trace by itself.
    read.tseq == 0
        && (record.run_kind == RunKind::None || is_start && !firsts.contains(&record.run))
}

pub(crate) fn kind_of(record: &EventRecord) -> Option<EventKind> {
    record.event.as_ref().map(rappel_core::Event::kind)
}

impl Strand {
    fn begin(&mut self, read: &Read) {
        self.next = 0;
        if let Some(record) = &read.record {
            self.firsts.push(record.run);
        }
        self.note(read);
    }

    fn note(&mut self, read: &Read) {
        self.next = read.tseq + 1;
        match read.record.as_deref().and_then(kind_of) {
            Some(kind) if kind.is_start() => self.open += 1,
            Some(kind) if kind.is_end() => self.open = self.open.saturating_sub(1),
            _ => {}
        }
    }
}
