//! Where failures of handlers are reported.

use alloc::sync::Arc;

use crate::model::error::HandlerFailure;
use crate::util::catch_unwind;

/// The manager's `on_handler_failure`.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<dyn Fn(&HandlerFailure) + Send + Sync>);

impl Reporter {
    pub(crate) fn new(report: impl Fn(&HandlerFailure) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    pub(crate) fn report(&self, failure: &HandlerFailure) {
        // A panic of the report must not reach the emitter.
        let _ = catch_unwind(|| (self.0)(failure));
    }
}

impl Default for Reporter {
    fn default() -> Self {
        Self::new(report_by_default)
    }
}

#[cfg(feature = "tracing")]
fn report_by_default(failure: &HandlerFailure) {
    tracing::warn!(
        handler = %failure.handler,
        event = %failure.event,
        run_id = %failure.run_id,
        cause = %failure.cause,
        "a callback handler failed"
    );
}

#[cfg(all(feature = "std", not(feature = "tracing")))]
fn report_by_default(failure: &HandlerFailure) {
    use std::io::Write;
    // `eprintln!` panics if standard error is closed.
    let _ = writeln!(std::io::stderr(), "rappel: {failure} (run {})", failure.run_id);
}

#[cfg(not(feature = "std"))]
fn report_by_default(_: &HandlerFailure) {}
