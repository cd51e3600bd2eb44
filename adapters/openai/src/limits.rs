//! How much of a server's answer is taken in before it counts as a fault.

use core::num::NonZeroUsize;

/// Limits in bytes, so that no server can fill the memory of its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// A response that is not a stream.
    pub(crate) body: usize,
    /// The data of one event of a stream.
    pub(crate) event: NonZeroUsize,
    /// What a stream may carry between two chunks: comments, blank events, and
    /// the next event's own bytes. Keep it well above `event`.
    pub(crate) silence: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 16 << 20,
            event: const { NonZeroUsize::new(1 << 20).expect("it is not zero") },
            silence: 8 << 20,
        }
    }
}
