//! Makes records of the events that a handler gets.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::EventRecordRef;
use crate::model::context::EventContext;
use crate::model::event::Event;
use crate::model::run_info::{RunId, RunKind};

/// Makes a record of each event that a handler gets, and numbers the records of each trace.
///
/// It needs all starts and ends of the runs that it records: it forgets a trace when the last of its
/// runs has ended. Its memory is bounded by the number of open runs.
///
/// ```
/// use rappel_core::record::Recorder;
/// use rappel_core::{CallbackHandler, Event, EventContext, HandlerResult, handler_fn};
///
/// let mut recorder = Recorder::new("worker-7");
/// let lines = handler_fn(move |event: &Event, cx: &EventContext| {
///     if let Some(record) = recorder.record(event, cx) {
///         println!("{}", serde_json::to_string(&record)?);
///     }
///     Ok(())
/// });
/// # let _ = lines;
/// ```
#[derive(Debug)]
pub struct Recorder {
    source: Arc<str>,
    traces: BTreeMap<RunId, Trace>,
    /// How many custom events without a run were recorded, of all traces.
    customs: u64,
}

/// The records of one trace, by its root.
#[derive(Debug, Default)]
struct Trace {
    next: u64,
    open_runs: usize,
}

impl Recorder {
    /// Makes a recorder. `source` must be unique among the recorders whose records come together:
    /// records are in order within one source only.
    #[must_use]
    pub fn new(source: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), traces: BTreeMap::new(), customs: 0 }
    }

    /// Returns the source.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Returns the number of traces with open runs.
    #[must_use]
    pub fn open_traces(&self) -> usize {
        self.traces.len()
    }

    /// Makes the record of an event.
    ///
    /// A replayed event keeps the source and the number that it was recorded with. An event that a
    /// replay has made up ([`EventContext::is_made_up`]) has no record.
    pub fn record<'a>(
        &mut self,
        event: &'a Event,
        cx: &'a EventContext,
    ) -> Option<EventRecordRef<'a>> {
        let (source, tseq, custom_seq, losses) = match cx.recorded() {
            Some(at) => (at.source.clone(), at.tseq, at.custom_seq, at.losses.plus(cx.losses())),
            None if cx.is_made_up() => return None,
            None => {
                let (tseq, custom_seq) = (self.number(event, cx), self.custom_number(cx));
                (self.source.clone(), tseq, custom_seq, cx.losses())
            }
        };
        Some(EventRecordRef { source, tseq, custom_seq, losses, event, cx })
    }

    fn number(&mut self, event: &Event, cx: &EventContext) -> u64 {
        let root = root_of(cx);
        let kind = event.kind();
        let trace = self.traces.entry(root).or_default();
        let number = trace.next;
        trace.next += 1;
        if kind.is_start() {
            trace.open_runs += 1;
        } else if kind.is_end() {
            trace.open_runs = trace.open_runs.saturating_sub(1);
        }
        if trace.open_runs == 0 {
            self.traces.remove(&root);
        }
        number
    }

    /// The number of a custom event without a run. It never begins again, because such an event can
    /// come after its trace was forgotten.
    fn custom_number(&mut self, cx: &EventContext) -> Option<u64> {
        (cx.kind() == RunKind::None).then(|| {
            self.customs += 1;
            self.customs - 1
        })
    }
}

/// The outermost run, also of a custom event that was emitted on a manager.
pub(super) fn root_of(cx: &EventContext) -> RunId {
    match cx.kind() {
        RunKind::None => cx.parents().next().unwrap_or_else(|| cx.root_id()),
        _ => cx.root_id(),
    }
}
