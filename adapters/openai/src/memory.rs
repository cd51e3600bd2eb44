//! What a model remembers of its server.

use std::sync::atomic::{AtomicBool, Ordering};

/// What was learned about a server. The calls of a model share it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// It refuses `stream_options`.
    refuses_stream_options: AtomicBool,
    /// It calls the reasoning of an answer `reasoning`, and not `reasoning_content`.
    short_reasoning: AtomicBool,
}

impl Memory {
    pub(crate) fn refuses_stream_options(&self) -> bool {
        self.refuses_stream_options.load(Ordering::Relaxed)
    }

    /// Notes that `stream_options` were refused. Returns `true` if that was known.
    pub(crate) fn note_refusal(&self) -> bool {
        self.refuses_stream_options.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn has_short_reasoning(&self) -> bool {
        self.short_reasoning.load(Ordering::Relaxed)
    }

    pub(crate) fn note_reasoning(&self, short: bool) {
        self.short_reasoning.store(short, Ordering::Relaxed);
    }
}
