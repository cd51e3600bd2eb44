//! A handler's call, from when its event is accepted to when it is settled.

use core::sync::atomic::Ordering;

use super::meta::count;
use super::{Answer, HandlerMeta, RunNode};
use crate::model::error::FailureCause;
use crate::model::event::EventKind;

/// A call that has not been settled. Dropped before that, because its runtime has dropped the task
/// that would have made it, it reports itself.
pub(crate) struct Call<'a> {
    meta: &'a HandlerMeta,
    node: &'a RunNode,
    kind: EventKind,
    settled: bool,
}

impl<'a> Call<'a> {
    pub(crate) fn new(meta: &'a HandlerMeta, node: &'a RunNode, kind: EventKind) -> Self {
        Self { meta, node, kind, settled: false }
    }

    /// Counts the call as pending until the guard is dropped.
    pub(crate) fn pending(&self) -> PendingCall<'a> {
        count(&self.meta.counters.pending, 1);
        PendingCall(self.meta)
    }

    /// The call has returned. Whether the event was handled; the caller counts that.
    pub(crate) fn settle(mut self, answer: Answer) -> bool {
        self.settled = true;
        let handled = matches!(answer, Answer::Handled);
        self.meta.conclude(answer, self.node);
        handled
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.meta.fail(self.kind, FailureCause::RuntimeGone, self.node);
        }
    }
}

/// Counts a call as pending.
pub(crate) struct PendingCall<'a>(&'a HandlerMeta);

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        self.0.counters.pending.fetch_sub(1, Ordering::Relaxed);
    }
}
