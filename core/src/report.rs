//! Where the failures of handlers are reported.

use alloc::sync::Arc;
use core::fmt;

use crate::contain::contained;
use crate::error::HandlerFailure;

/// The manager's `on_handler_failure`.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<dyn Fn(&HandlerFailure) + Send + Sync>);

impl Reporter {
    pub(crate) fn new(report: impl Fn(&HandlerFailure) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    pub(crate) fn report(&self, failure: &HandlerFailure) {
        // A report that panics has nobody left to be reported to, and must not reach the emitter.
        let _ = contained(|| (self.0)(failure));
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new(report_by_default)
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

#[cfg(feature = "tracing")]
fn report_by_default(failure: &HandlerFailure) {
    tracing::warn!(handler = %failure.handler, event = %failure.event, run_id = %failure.run_id, cause = %failure.cause, "a callback handler failed");
}

#[cfg(all(feature = "std", not(feature = "tracing")))]
fn report_by_default(failure: &HandlerFailure) {
    use std::io::Write;
    // Not `eprintln!`: it panics where standard error is closed.
    let _ = writeln!(std::io::stderr(), "rappel: {failure} (run {})", failure.run_id);
}

#[cfg(not(feature = "std"))]
fn report_by_default(_: &HandlerFailure) {}
