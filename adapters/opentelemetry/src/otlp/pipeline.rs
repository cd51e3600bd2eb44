//! From the end of a span to its export, with the books.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};

use super::books::{Books, Outcome};
use super::client::Attempts;

/// Counts spans in front of the batch processor, which drops what finds its queue full.
///
/// The queue is full for it when as many spans are counted in as the batch processor has room for.
/// So the batch processor itself drops none.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) batches: BatchSpanProcessor,
    pub(super) books: Arc<Books>,
    pub(super) capacity: u64,
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.batches.on_start(span, cx);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() && self.books.enter(self.capacity) {
            self.batches.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let result = self.batches.shutdown_with_timeout(timeout);
        self.books.close();
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts what came of each batch.
#[derive(Debug)]
pub(super) struct Exporter<E> {
    pub(super) exporter: E,
    pub(super) books: Arc<Books>,
    pub(super) attempts: Arc<Attempts>,
}

/// Settles a batch, also if the exporter panics.
struct Batch<'a> {
    spans: u64,
    books: &'a Books,
    attempts: &'a Attempts,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // Without an attempt the batch was too large to be sent.
        let outcome = self.attempts.take().unwrap_or(Outcome::NotSent);
        self.books.settle(self.spans, outcome);
    }
}

impl<E: SpanExporter> SpanExporter for Exporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        if !self.books.take(spans) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let batch_of_books = Batch { spans, books: &self.books, attempts: &self.attempts };
        let result = self.exporter.export(batch).await;
        drop(batch_of_books);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
