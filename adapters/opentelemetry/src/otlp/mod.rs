//! OTLP over HTTP, without an async runtime.

mod books;
mod builder;
mod client;
mod pipeline;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use rappel_core::CallbackManager;

pub use books::SpanCounts;
pub use builder::{BuildError, OtlpBuilder, otlp};

use crate::handler::OpenTelemetry;
use crate::metrics::observe_handlers;
use books::Books;

/// A handler whose spans go to a collector, and the accounts of them: made by [`otlp`].
///
/// It is cheap to clone, and clones are the same.
///
/// If the last clone, manager and run with it are dropped without a shutdown, the drop sends what waits in
/// the queue. That blocks the thread for up to 5 seconds if the collector is slow. So shut the manager
/// down first.
#[derive(Clone)]
pub struct Otlp {
    handler: OpenTelemetry,
    tracers: SdkTracerProvider,
    meters: Option<SdkMeterProvider>,
    books: Arc<Books>,
}

impl Otlp {
    /// Registers the handler, and sends what is left when the manager is
    /// [shut down](CallbackManager::shutdown), within that deadline. If spans were lost, the report
    /// of the shutdown says how many.
    ///
    /// Register it with one manager, after the other handlers: metrics of handlers are of those that
    /// the manager has. If it is registered with two managers, the shutdown of the first ends the
    /// exporter of both.
    #[must_use]
    pub fn register(&self, callbacks: CallbackManager) -> CallbackManager {
        let itself = self.clone();
        let callbacks = callbacks
            .with_async_handler(self.handler.clone())
            .on_shutdown(move |deadline| Ok(itself.shutdown(deadline).map(drop)?));
        if let Some(meters) = &self.meters {
            // The meters keep the manager, and the manager keeps them, as long as the process.
            observe_handlers(meters, &callbacks);
        }
        callbacks
    }

    /// Returns the handler, to register it by hand. Call [`shutdown`](Self::shutdown) then.
    #[must_use]
    pub fn handler(&self) -> OpenTelemetry {
        self.handler.clone()
    }

    /// Returns the provider, for spans of the application's own and as the global provider.
    #[must_use]
    pub fn tracer_provider(&self) -> &SdkTracerProvider {
        &self.tracers
    }

    /// Returns the provider of metrics, if they are sent.
    #[must_use]
    pub fn meter_provider(&self) -> Option<&SdkMeterProvider> {
        self.meters.as_ref()
    }

    /// Returns what became of the spans so far.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        self.books.counts()
    }

    /// Sends what waits in the queue. It blocks the thread until that is done, for at most 5
    /// seconds.
    ///
    /// # Errors
    /// [`ExportError`] if it took longer, or if spans were lost since the start.
    pub fn force_flush(&self) -> Result<SpanCounts, ExportError> {
        let started = Instant::now();
        // The provider hides the kind of the error. Too many flushes at once are an error, too.
        let failed = self.tracers.force_flush().is_err();
        let timed_out = failed && started.elapsed() >= FLUSH;
        self.outcome(failed && self.books.counts().pending > 0, timed_out)
    }

    /// Sends what waits in the queue, and ends the threads of the exporter. It blocks the thread for
    /// at most `deadline`. What is not sent by then is dropped, and counted. Called again, it waits for
    /// the first call instead of sending.
    ///
    /// # Errors
    /// [`ExportError`] if spans were lost since the start.
    pub fn shutdown(&self, deadline: Duration) -> Result<SpanCounts, ExportError> {
        let started = Instant::now();
        let ended = self.tracers.shutdown_with_timeout(deadline);
        if let Err(OTelSdkError::AlreadyShutdown) = ended {
            if !self.books.wait_until_closed(deadline) {
                self.books.close(true);
            }
            return self.outcome(false, false);
        }
        if let Some(meters) = &self.meters {
            // Measurements are not counted: a later one replaces an earlier one.
            let _ = meters.shutdown_with_timeout(deadline.saturating_sub(started.elapsed()));
        }
        self.outcome(false, false)
    }

    /// `unsent`: not all was sent that should have been.
    fn outcome(&self, unsent: bool, timed_out: bool) -> Result<SpanCounts, ExportError> {
        let counts = self.books.counts();
        let lost = counts.rejected + counts.dropped + counts.unknown > 0;
        if !unsent && !lost {
            return Ok(counts);
        }
        let timed_out = timed_out || self.books.is_late();
        Err(ExportError { counts, timed_out, cause: self.books.last_error() })
    }
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp")
            .field("handler", &self.handler)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

/// How long the SDK waits for a flush.
const FLUSH: Duration = Duration::from_secs(5);

/// Not every span was acknowledged by the collector.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportError {
    /// What became of the spans.
    pub counts: SpanCounts,
    /// Whether there was no time to send all.
    pub timed_out: bool,
    /// What was last said of a request that failed.
    pub cause: Option<String>,
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not every span has arrived: {}", self.counts)?;
        if self.timed_out {
            f.write_str("; the time was up")?;
        }
        match &self.cause {
            Some(cause) => write!(f, "; the last failure: {cause}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ExportError {}
