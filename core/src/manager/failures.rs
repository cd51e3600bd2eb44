//! The report of handlers that fail.

use super::CallbackManager;
use crate::dispatch::Reporter;
use crate::model::error::HandlerFailure;

impl CallbackManager {
    /// Sets the report of handlers that fail, panic, or cannot be called. The default writes to
    /// standard error, or, with the feature `tracing`, to `tracing::warn!`.
    ///
    /// It is called where the handler was: on the emitter's task, or on a thread of the blocking
    /// executor. It should be quick. Its own panics are ignored.
    #[must_use]
    pub fn on_handler_failure(
        mut self,
        report: impl Fn(&HandlerFailure) + Send + Sync + 'static,
    ) -> Self {
        self.change().reporter = Reporter::new(report);
        self
    }

    /// Sets a report of failures beside the one that is there. It is called after that one, under
    /// the same rules.
    #[must_use]
    pub fn also_on_handler_failure(
        mut self,
        report: impl Fn(&HandlerFailure) + Send + Sync + 'static,
    ) -> Self {
        let first = self.setup.reporter.clone();
        self.change().reporter = Reporter::new(move |failure| {
            first.report(failure);
            report(failure);
        });
        self
    }
}
