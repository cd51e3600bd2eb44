//! The place of a worker's calls.

use alloc::sync::Arc;

use super::context::{FrameKind, Place};
use super::{Current, LaneItem, Mailbox};
use crate::model::context::EventContext;

/// Where a worker calls a handler, for one event after the other of a run.
pub(super) struct Seated {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) place: Current,
    pub(super) cx: EventContext,
}

impl Seated {
    pub(super) fn new(mailbox: Arc<Mailbox>, item: &LaneItem) -> Self {
        let emitter = item.emitter().unwrap_or(&mailbox.emitter);
        let place = Some(Place::in_call(emitter, &mailbox.node, FrameKind::Worker));
        let cx = EventContext::new(mailbox.node.info.clone());
        Self { mailbox, place, cx }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            place.end_call();
        }
    }
}
