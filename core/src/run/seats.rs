//! A run's seats in the lanes of its handlers.

use alloc::boxed::Box;
use alloc::sync::Arc;

use super::setup::Setup;
use crate::dispatch::{Current, LaneSeat, Mailbox, RunNode};

/// A run's seat in the lane of each handler that has one.
#[derive(Default)]
pub(super) struct Seats {
    /// In the order of [`Setup::lanes`]. Empty before the first event.
    lanes: Box<[LaneSeat]>,
    /// What the run's events in all lanes share. Absent before the first event.
    mailbox: Option<Arc<Mailbox>>,
}

impl Seats {
    /// The seats, and what the run's events share. The emitter is at `emitter` now.
    pub(super) fn at(
        &mut self,
        setup: &Setup,
        node: &Arc<RunNode>,
        emitter: &Current,
    ) -> (&mut [LaneSeat], &Arc<Mailbox>) {
        if self.lanes.is_empty() {
            self.lanes = setup.lanes().map(|_| LaneSeat::default()).collect();
        }
        let mailbox = self.mailbox.get_or_insert_with(|| {
            Arc::new(Mailbox { node: node.clone(), emitter: emitter.clone() })
        });
        (&mut self.lanes, mailbox)
    }

    pub(super) fn is_any_taken(&self) -> bool {
        self.lanes.iter().any(LaneSeat::is_taken)
    }

    /// No more events will come. Returns what the events shared: its emitter's place may keep other
    /// runs.
    #[must_use = "its drop may be user code"]
    pub(super) fn leave(&mut self, setup: &Setup) -> Option<Arc<Mailbox>> {
        for (lane, seat) in setup.lanes().zip(&mut self.lanes) {
            lane.leave(seat, None);
        }
        self.mailbox.take()
    }
}
