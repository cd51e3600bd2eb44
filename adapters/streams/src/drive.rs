//! A stream that owns the work whose events it has.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::buffer::Buffer;

/// A stream together with the work whose events it has: see
/// [`EventStream::drive`](crate::EventStream::drive).
///
/// The work is polled when the stream is polled, and is dropped with it: its runs end as cancelled.
/// The work's output is dropped, unless [`with_output`](Self::with_output) takes it.
#[must_use = "streams do nothing unless polled"]
pub struct Drive<S, F: Future> {
    // Dropped first, so that what it does in its drop is not seen.
    work: Option<Pin<Box<F>>>,
    on_output: Option<OnOutput<F::Output>>,
    stream: S,
    buffer: Arc<Buffer>,
}

type OnOutput<T> = Box<dyn FnOnce(T) + Send>;

impl<S, F: Future> Drive<S, F> {
    pub(crate) fn new(stream: S, work: F, buffer: Arc<Buffer>) -> Self {
        Self { work: Some(Box::pin(work)), on_output: None, stream, buffer }
    }

    /// Calls a closure with the work's output when the work is done.
    pub fn with_output(mut self, f: impl FnOnce(F::Output) + Send + 'static) -> Self {
        self.on_output = Some(Box::new(f));
        self
    }
}

impl<S: Stream + Unpin, F: Future> Stream for Drive<S, F> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        if this.work.is_some() {
            // The stream is polled after the work, so what the work emits need not wake it.
            this.buffer.forget_reader();
        }
        if let Some(work) = &mut this.work
            && let Poll::Ready(output) = work.as_mut().poll(cx)
        {
            this.work = None;
            this.buffer.finish();
            if let Some(f) = this.on_output.take() {
                f(output);
            }
        }
        Pin::new(&mut this.stream).poll_next(cx)
    }
}

// Nothing in it is pinned in place.
impl<S, F: Future> Unpin for Drive<S, F> {}

impl<S: fmt::Debug, F: Future> fmt::Debug for Drive<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Drive");
        debug.field("stream", &self.stream).field("is_done", &self.work.is_none());
        debug.finish_non_exhaustive()
    }
}
