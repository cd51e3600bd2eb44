//! What a record says about its run.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde_json::Value;

use crate::model::context::RecordedAt;
use crate::model::event::{
    ChainStart, ChatModelStart, Event, EventGroup, EventKind, LlmStart, RetrieverStart, ToolStart,
};
use crate::model::record::{About, EventRecord};
use crate::model::run_info::{MoreInfo, RemoteDelivery, RunInfo, RunKind};

/// Whether a run of that kind may have an event of that kind.
pub(super) fn fits(event: EventKind, run: RunKind) -> bool {
    match event.group() {
        EventGroup::Llm | EventGroup::ChatModel => {
            matches!(run, RunKind::Llm | RunKind::ChatModel)
        }
        EventGroup::Chain => run == RunKind::Chain,
        EventGroup::Retriever => run == RunKind::Retriever,
        // An agent's own events fit any run.
        EventGroup::Agent if event.is_start() || event.is_end() => run == RunKind::Tool,
        _ => true,
    }
}

pub(super) fn recorded_at(record: &EventRecord, run: Option<Arc<RunInfo>>) -> Arc<RecordedAt> {
    let EventRecord { source, tseq, custom_seq, lost, .. } = record;
    let (source, custom_seq) = (source.clone(), *custom_seq);
    Arc::new(RecordedAt { source, tseq: *tseq, custom_seq, losses: *lost, run })
}

/// What the record says about its run, and how it came to this process.
pub(super) fn info_of(record: &EventRecord, delivery: Option<RemoteDelivery>) -> RunInfo {
    let nothing = About::default();
    let about = record.about.as_ref().unwrap_or(&nothing);
    // The last of the parents is the parent.
    let above = about.parents.split_last().map_or(&[][..], |(_, above)| above);
    // With a custom event inside a run, the name is that of the event.
    let is_custom = record.kind == EventKind::CustomEvent.method();
    let of_event = is_custom && record.run_kind != RunKind::None;
    let name = if of_event { Arc::default() } else { about.name.clone() };
    RunInfo {
        id: record.run,
        parent_id: record.parent,
        root_id: record.root,
        kind: record.run_kind,
        name,
        tags: about.tags.clone().into(),
        metadata: about.metadata.clone(),
        more: Some(Box::new(MoreInfo {
            above_parent: (!above.is_empty()).then(|| above.into()),
            traceparent: about.traceparent,
            remote_parent: about.remote_parent,
            replayed: true,
            delivery: delivery.map(Box::new),
        })),
    }
}

/// The start of a run whose start is missing.
pub(super) fn made_up_start(kind: RunKind, info: &RunInfo) -> Event {
    let name = info.name.clone();
    match kind {
        RunKind::Llm => LlmStart::new(name, "").into(),
        RunKind::ChatModel => ChatModelStart::new(name, Vec::new()).into(),
        RunKind::Chain | RunKind::None => ChainStart::new(name, Value::Null).into(),
        RunKind::Tool => ToolStart::new(name, "").into(),
        RunKind::Retriever => RetrieverStart::new(name, "").into(),
    }
}
