//! What a replay does to a run beside emitting.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::future::poll_fn;
use core::task::{Context, Poll};

use super::state::{EMITTER, Phase, Run, Stamp, State};
use crate::dispatch::OpenRun;
use crate::util::drop_quietly;

impl Run {
    /// Gives the run's next event its number, its time, and where it was recorded.
    pub(crate) async fn stamp(self: &Arc<Self>, sequence: Option<u64>, stamp: Stamp) {
        let mut stamp = Some(Box::new(stamp));
        poll_fn(|cx| {
            let old = self.cell_or_register(&self.emitter, EMITTER, cx, |state, _| {
                state.sequence = sequence.unwrap_or(state.sequence);
                core::mem::replace(&mut state.rare().stamp, stamp.take())
            });
            let Some(old) = old else { return Poll::Pending };
            drop_quietly(old);
            Poll::Ready(())
        })
        .await;
    }

    /// Has the run close together with an open parent, before that.
    pub(crate) fn attach_late(self: &Arc<Self>, parent: &Self) {
        let weak: Weak<Self> = Arc::downgrade(self);
        self.node.attach(&parent.node, weak as Weak<dyn OpenRun>);
    }

    /// Whether the run is replayed, and its replay was given up.
    pub(crate) fn is_given_up(self: &Arc<Self>) -> bool {
        let closing =
            self.requests.with(|left| left.as_ref().is_some_and(|left| left.close.is_some()));
        self.node.info.is_replayed()
            && (closing || self.try_cell(|state| state.phase != Phase::Open).unwrap_or(false))
    }

    /// Ready when the run has ended.
    pub(crate) async fn closed(self: &Arc<Self>) {
        let outcome = poll_fn(|cx| {
            let poll = |state: &mut State, cx: &mut Context<'_>| self.poll_end_outcome(state, cx);
            self.cell_or_register(&self.emitter, EMITTER, cx, poll).unwrap_or(Poll::Pending)
        })
        .await;
        drop_quietly(outcome);
    }
}
