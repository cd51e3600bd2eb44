//! The body of a response of server-sent events.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use rappel_core::Timer;
use rappel_core::record::EventRecord;
use serde_json::Value;

use crate::buffer::Lagged;
use crate::encode::{Encoder, Parts};

/// The headers of a response of server-sent events.
pub const SSE_HEADERS: &[(&str, &str)] = &[
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
];

/// The headers of an AI SDK UI message stream.
pub const UI_MESSAGE_STREAM_HEADERS: &[(&str, &str)] = &[
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
    ("x-vercel-ai-ui-message-stream", "v1"),
];

/// The time between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// Writes JSON as one server-sent event: `data: ...` and a blank line.
#[must_use]
pub fn sse_frame(value: &Value) -> String {
    // JSON in this form has no line break.
    format!("data: {value}\n\n")
}

/// The body of a response: the frames of a stream's events, as an encoder writes them. It closes
/// what is open when the stream ends, whatever the end. An item has all frames of one event.
///
/// The stream is an [`EventStream`](crate::EventStream), or a [`Drive`](crate::Drive) of one. Its
/// items are never errors: they have the form that web frameworks ask for in a body's stream.
#[must_use = "streams do nothing unless polled"]
pub struct Sse<S, E> {
    stream: S,
    encoder: E,
    parts: Parts,
    heartbeat: Option<Heartbeat>,
    is_over: bool,
}

/// Sends a comment if nothing was sent for a while, so that no proxy closes the connection.
pub struct Heartbeat {
    timer: Arc<dyn Timer>,
    every: Duration,
    /// When the last frame was sent, on the timer's clock.
    last: Duration,
    sleep: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Heartbeat {
    /// Sends one every [`HEARTBEAT`].
    #[must_use]
    pub fn new(timer: impl Timer) -> Self {
        Self::every(timer, HEARTBEAT)
    }

    /// Sends one after each such time without a frame.
    #[must_use]
    pub fn every(timer: impl Timer, every: Duration) -> Self {
        let timer: Arc<dyn Timer> = Arc::new(timer);
        let (last, sleep) = (timer.now(), timer.sleep(every));
        Self { timer, every, last, sleep }
    }

    /// Whether it is time for a heartbeat.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let since = self.timer.now().saturating_sub(self.last);
            let rest = self.every.saturating_sub(since);
            self.sleep = self.timer.sleep(if rest.is_zero() { self.every } else { rest });
            if rest.is_zero() {
                return Poll::Ready(());
            }
        }
    }
}

impl<S, E> Sse<S, E> {
    /// Makes a body without heartbeats.
    pub fn new(stream: S, encoder: E) -> Self {
        Self { stream, encoder, parts: Parts::default(), heartbeat: None, is_over: false }
    }

    /// Adds heartbeats. The timer is that of the runtime: `Tokio::current()`, for example.
    pub fn heartbeat(mut self, heartbeat: Heartbeat) -> Self {
        self.heartbeat = Some(heartbeat);
        self
    }
}

impl<S, E> Stream for Sse<S, E>
where
    S: Stream<Item = Result<Box<EventRecord>, Lagged>> + Unpin,
    E: Encoder + Unpin,
{
    type Item = Result<String, std::convert::Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        while this.parts.is_empty() {
            if this.is_over {
                return Poll::Ready(None);
            }
            match Pin::new(&mut this.stream).poll_next(cx) {
                Poll::Ready(Some(Ok(record))) => this.encoder.encode(&record, &mut this.parts),
                Poll::Ready(Some(Err(lagged))) => {
                    this.encoder.lagged(lagged, &mut this.parts);
                    this.is_over = true;
                }
                Poll::Ready(None) => {
                    this.encoder.finish(&mut this.parts);
                    this.is_over = true;
                }
                Poll::Pending => {
                    let Some(heartbeat) = &mut this.heartbeat else {
                        return Poll::Pending;
                    };
                    ready!(heartbeat.poll(cx));
                    this.parts.push_frame(": heartbeat");
                }
            }
            if this.is_over
                && let Some(last) = this.encoder.last_data()
            {
                this.parts.push_frame(&format!("data: {last}"));
            }
        }
        if let Some(heartbeat) = &mut this.heartbeat {
            heartbeat.last = heartbeat.timer.now();
        }
        Poll::Ready(Some(Ok(this.parts.take_frames())))
    }
}

impl<S, E> fmt::Debug for Sse<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("every", &self.every).finish_non_exhaustive()
    }
}
