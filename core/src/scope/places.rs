//! Where a run's mailboxes are. A place changes under the lock of the handler's lane only, as keys are used again.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::Facts;
use crate::envelope::Envelope;
use crate::lane::Lane;

/// A run's mailbox with each of its handlers, by the handler's number.
pub(crate) struct Places(Box<[AtomicUsize]>);

/// A run's mailbox with one handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing has been brought yet.
    None,
    /// The handler hears nothing of the run.
    Refused,
    /// The last event has been brought.
    Left,
    /// It has that key in the handler's lane.
    At(usize),
}

const NONE: usize = 0;
const REFUSED: usize = 1;
const LEFT: usize = 2;
const FIRST_KEY: usize = 3;

impl Place {
    fn of(word: usize) -> Self {
        match word {
            NONE => Self::None,
            REFUSED => Self::Refused,
            LEFT => Self::Left,
            key => Self::At(key - FIRST_KEY),
        }
    }
}

impl Places {
    pub(crate) fn new(handlers: usize) -> Self {
        Self((0..handlers).map(|_| AtomicUsize::new(NONE)).collect())
    }

    pub(crate) fn get(&self, index: usize) -> Place {
        self.0
            .get(index)
            .map_or(Place::Refused, |place| Place::of(place.load(Ordering::Acquire)))
    }

    pub(crate) fn admit(&self, index: usize, key: usize) {
        self.set(index, key + FIRST_KEY);
    }

    pub(crate) fn refuse(&self, index: usize) {
        self.set(index, REFUSED);
    }

    /// Gives where it was.
    pub(crate) fn leave(&self, index: usize) -> Place {
        self.set(index, LEFT)
    }

    fn set(&self, index: usize, word: usize) -> Place {
        self.0
            .get(index)
            .map_or(Place::Refused, |place| Place::of(place.swap(word, Ordering::AcqRel)))
    }
}

impl Facts {
    /// No more events of the run will come: gives its mailboxes back, as soon as they are empty. `end` is the run's end, which handlers that it was
    /// brought to have left already.
    pub(crate) fn leave_lanes(&self, end: Option<&Arc<Envelope>>) {
        for (index, handler) in self.setup.handlers().enumerate() {
            if let (Some(lane), Place::At(_)) = (handler.lane(), self.places.get(index)) {
                lane.retire(handler, self, index, end);
            }
        }
    }

    /// Whether an end has to wait for what is queued for a handler, though that may not want the end itself.
    pub(super) fn is_in_pipelined_lane(&self) -> bool {
        let mut handlers = self.setup.handlers().enumerate();
        handlers.any(|(index, handler)| handler.lane().is_some_and(Lane::is_pipelined) && matches!(self.places.get(index), Place::At(_)))
    }
}

impl Drop for Facts {
    fn drop(&mut self) {
        self.leave_lanes(None);
    }
}
