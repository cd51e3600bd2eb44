//! A run's seats in the lanes of its handlers.

use alloc::boxed::Box;

use super::setup::Setup;
use crate::dispatch::{Current, LaneSeat};

/// A run's seat in the lane of each handler that has one.
#[derive(Default)]
pub(super) struct Seats {
    /// In the order of [`Setup::lanes`]. Empty before the first event.
    lanes: Box<[LaneSeat]>,
    /// Where the emitter was when the run was admitted to its lanes.
    admitted: Current,
}

impl Seats {
    /// The seats, and where the emitter was at the first event. It is at `emitter` now.
    pub(super) fn at(&mut self, setup: &Setup, emitter: &Current) -> (&mut [LaneSeat], &Current) {
        if self.lanes.is_empty() {
            self.lanes = setup.lanes.iter().map(|_| LaneSeat::default()).collect();
            self.admitted = emitter.clone();
        }
        (&mut self.lanes, &self.admitted)
    }

    pub(super) fn is_any_taken(&self) -> bool {
        self.lanes.iter().any(LaneSeat::is_taken)
    }

    /// No more events will come.
    pub(super) fn leave(&mut self, setup: &Setup) {
        for (number, seat) in setup.lanes.iter().zip(&mut self.lanes) {
            if let Some(lane) = setup.handler(*number).and_then(|handler| handler.lane()) {
                lane.leave(seat, None);
            }
        }
    }
}
