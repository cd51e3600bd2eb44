//! A run's seat in a lane.

use core::num::NonZeroU32;

/// A run's seat in a lane. Absent before the run's first event and after its last one.
#[derive(Default)]
pub(crate) struct LaneSeat(Option<NonZeroU32>);

impl LaneSeat {
    pub(crate) fn is_taken(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn key(&self) -> Option<usize> {
        self.0.map(|number| number.get() as usize - 1)
    }

    pub(super) fn set(&mut self, key: usize) {
        // More runs than that are not open at a time.
        self.0 = NonZeroU32::new(key as u32 + 1);
    }
}
