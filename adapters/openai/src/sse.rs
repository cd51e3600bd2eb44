//! The answer in a response: from bytes to chunks.
//!
//! A stream and a whole answer are read alike, whatever was asked for, because servers and gateways
//! confuse the two.

use core::pin::Pin;
use core::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;

use crate::coop::Budget;
use crate::error::OpenAiError;
use crate::events::{Events, Step};
use crate::limits::Limits;
use crate::response::ResponseBody;
use crate::responses::Api;
use crate::secret::Secrets;
use crate::server_info::ServerInfo;
use crate::wire::Chunk;

/// The bytes of a response.
pub(crate) trait Packets: Stream<Item = Result<Bytes, OpenAiError>> + Unpin {
    /// The answer is complete. What is still missing of the response is waited for until the grace
    /// period has passed, counted from now.
    fn begin_grace(&mut self) {}

    /// The answer goes on.
    fn end_grace(&mut self) {}

    /// The error if the time limit of the whole call has passed.
    fn check_total(&self) -> Result<(), OpenAiError> {
        Ok(())
    }
}

impl Packets for ResponseBody {
    fn begin_grace(&mut self) {
        self.begin_grace();
    }

    fn end_grace(&mut self) {
        self.end_grace();
    }

    fn check_total(&self) -> Result<(), OpenAiError> {
        self.check_total()
    }
}

/// The chunks of an answer, as they arrive. A whole answer is one chunk.
///
/// It ends after `[DONE]`, after an error, or when the server ends the response after the finish
/// reasons of all choices. Then it also ends well if the connection breaks, or if nothing more
/// arrives within the grace period. Without a finish reason the answer counts as cut. It is fused,
/// and closes the connection at its end.
#[derive(Debug)]
pub(crate) struct ChunkStream<B = ResponseBody> {
    /// `None` once the stream has ended.
    bytes: Option<B>,
    events: Events,
    /// The first chunk, if it has been waited for.
    first: Option<Chunk>,
    /// What the headers say, until the first chunk.
    server: Option<Box<ServerInfo>>,
    budget: Budget,
    /// Takes the bytes after the answer's end.
    over: fn(B),
}

impl<B> ChunkStream<B> {
    /// The chunks in `bytes`. The secrets are replaced in the server's errors.
    ///
    /// `whole`: a whole answer was requested.
    pub(crate) fn new(bytes: B, secrets: Secrets, limits: &Limits, whole: bool) -> Self {
        Self {
            bytes: Some(bytes),
            events: Events::new(secrets, limits, whole),
            first: None,
            server: None,
            budget: Budget::new(),
            over: drop,
        }
    }

    /// Passes the rest of the bytes to `over` once the answer has ended.
    pub(crate) fn when_over(mut self, over: fn(B)) -> Self {
        self.over = over;
        self
    }

    /// Adds what the headers say to the first chunk, and to an error in its place.
    pub(crate) fn with_server(mut self, server: Box<ServerInfo>) -> Self {
        self.events.server.clone_from(&server);
        self.server = Some(server);
        self
    }

    /// The API whose events are read.
    pub(crate) fn with_api(mut self, api: Api) -> Self {
        self.events.set_api(api);
        self
    }

    /// The response has a length, so that a missing part of it is noticed.
    pub(crate) fn with_length(mut self, announced: bool) -> Self {
        self.events.has_length = announced;
        self
    }
}

impl<B: Packets> ChunkStream<B> {
    /// Waits for the first chunk, which stays in the stream.
    ///
    /// # Errors
    /// If there is an error in its place.
    pub(crate) async fn peek(&mut self) -> Result<(), OpenAiError> {
        self.first = self.next().await.transpose()?;
        Ok(())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, OpenAiError>>> {
        while let Some(bytes) = &mut self.bytes {
            match self.events.next() {
                Ok(Step::Chunk(mut chunk)) => {
                    chunk.server = self.server.take();
                    match self.events.completeness() {
                        Some(true) => bytes.begin_grace(),
                        Some(false) => bytes.end_grace(),
                        None => {}
                    }
                    return Poll::Ready(Some(Ok(chunk)));
                }
                Ok(Step::End) => {
                    if let Some(bytes) = self.bytes.take() {
                        (self.over)(bytes);
                    }
                }
                Ok(Step::NeedsBytes) => match ready!(Pin::new(bytes).poll_next(cx)) {
                    Some(Ok(bytes)) => self.events.push(bytes),
                    Some(Err(error)) => self.events.push_failure(error),
                    None => self.events.push_end(),
                },
                // One packet can contain a million lines without any chunk.
                Ok(Step::Pause) => match bytes.check_total() {
                    Ok(()) => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(error) => {
                        self.events.push_failure(error);
                        self.events.refill();
                    }
                },
                Err(error) => {
                    self.bytes = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl<B: Packets> Stream for ChunkStream<B> {
    type Item = Result<Chunk, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        // One packet can contain thousands of chunks, and a reader that takes them in a loop would
        // never yield.
        let chunk = match this.budget.poll_spend(cx) {
            Poll::Ready(()) => this.poll_chunk(cx),
            Poll::Pending => Poll::Pending,
        };
        if chunk.is_pending() {
            this.budget.refill();
            this.events.refill();
        }
        chunk
    }
}

#[cfg(test)]
mod tests;
