//! From the end of a span to its export, with the books.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::Status;
use opentelemetry::{Array, Context, KeyValue, Value};
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
        self.books.close(matches!(result, Err(OTelSdkError::Timeout(_))));
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Sends batches in requests that collectors take, and counts what came of each.
#[derive(Debug)]
pub(super) struct Exporter<E> {
    pub(super) exporter: E,
    pub(super) books: Arc<Books>,
    pub(super) attempts: Arc<Attempts>,
    /// The time for a request and its repetitions.
    pub(super) limit: Duration,
}

/// Settles the spans of a batch, also if the exporter panics.
struct Batch<'a> {
    spans: u64,
    books: &'a Books,
    attempts: &'a Attempts,
}

impl Batch<'_> {
    fn settle(&mut self, spans: u64) {
        self.spans -= spans;
        // Without an attempt nothing was sent.
        let outcome = self.attempts.take().unwrap_or(Outcome::NotSent);
        self.books.settle(spans, outcome);
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.settle(self.spans);
    }
}

/// About the most bytes of a request, before compression. Collectors refuse larger ones: many by
/// default above 20 MiB, and some services above 4 MiB.
const REQUEST: usize = 4 * 1024 * 1024;

/// Splits a batch into requests. A larger span has a request of its own.
fn requests(batch: Vec<SpanData>) -> Vec<Vec<SpanData>> {
    let (mut requests, mut bytes) = (vec![Vec::new()], 0);
    for span in batch {
        let more = size(&span);
        if bytes > 0 && bytes + more > REQUEST {
            requests.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        requests.last_mut().expect("there is at least one").push(span);
    }
    requests
}

/// About the bytes of a span in a request: those of its texts, and a few for each field.
fn size(span: &SpanData) -> usize {
    let of_value = |value: &Value| match value {
        Value::String(text) => text.as_str().len(),
        Value::Array(Array::String(texts)) => texts.iter().map(|t| t.as_str().len() + 4).sum(),
        _ => 8,
    };
    let of = |attributes: &[KeyValue]| -> usize {
        attributes.iter().map(|it| it.key.as_str().len() + of_value(&it.value) + 12).sum()
    };
    let status = match &span.status {
        Status::Error { description } => description.len(),
        _ => 0,
    };
    let events = span.events.iter().map(|it| it.name.len() + of(&it.attributes) + 24);
    128 + span.name.len() + status + of(&span.attributes) + events.sum::<usize>()
}

impl<E: SpanExporter> SpanExporter for Exporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        if !self.books.take(spans) {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let mut unsettled = Batch { spans, books: &self.books, attempts: &self.attempts };
        let mut result = Ok(());
        for request in requests(batch) {
            if self.books.is_closed() {
                return Err(OTelSdkError::AlreadyShutdown);
            }
            let spans = request.len() as u64;
            self.attempts.begin(self.limit);
            let sent = self.exporter.export(request).await;
            if let (Err(error), true) = (&sent, self.attempts.is_empty()) {
                // It was too large to be tried. The text has its size.
                self.books.set_error(error.to_string());
            }
            unsettled.settle(spans);
            result = result.and(sent);
        }
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
