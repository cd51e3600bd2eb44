//! The event stream of a streamed answer: from bytes to chunks.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use sse_core::{MessageEvent, SseDecoder, SseEvent};

use crate::{
    coop::Budget, error::OpenAiError, error_body::ErrorBody, limits::Limits,
    response::ResponseBody, secret::Secret, utf8::Utf8Check, wire::Chunk,
};

/// The data of the event that should end every stream.
const DONE: &str = "[DONE]";

/// The maximum size of the text that is kept since the last event. It is only used if it is an
/// error.
const ASIDE_BYTES: usize = 64 << 10;

/// The chunks of a streamed answer, as they arrive.
///
/// It ends after `[DONE]`, after an error, or when the server closes the stream after the finish
/// reasons of all answers. Without a finish reason the answer counts as cut. It is fused, and
/// closes the connection at its end.
#[derive(Debug)]
pub(crate) struct ChunkStream<B = ResponseBody> {
    /// `None` once the stream has ended.
    bytes: Option<B>,
    events: Events,
    budget: Budget,
    /// Takes the bytes after the answer's end.
    over: fn(B),
}

impl<B> ChunkStream<B> {
    /// The chunks in `bytes`. `key` is replaced in the server's errors.
    pub(crate) fn new(bytes: B, key: Option<Secret>, limits: &Limits) -> Self {
        Self {
            bytes: Some(bytes),
            events: Events::new(key, limits),
            budget: Budget::new(),
            over: drop,
        }
    }

    /// Passes the rest of the bytes to `over` once the answer has ended.
    pub(crate) fn when_over(mut self, over: fn(B)) -> Self {
        self.over = over;
        self
    }
}

impl<B> ChunkStream<B>
where
    B: Stream<Item = Result<Bytes, OpenAiError>> + Unpin,
{
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, OpenAiError>>> {
        while let Some(bytes) = &mut self.bytes {
            match self.events.next() {
                Ok(Step::Chunk(chunk)) => return Poll::Ready(Some(Ok(chunk))),
                Ok(Step::End) => {
                    if let Some(bytes) = self.bytes.take() {
                        (self.over)(bytes);
                    }
                }
                Ok(Step::NeedsBytes) => match ready!(Pin::new(bytes).poll_next(cx)) {
                    Some(Ok(bytes)) => self.events.push(bytes),
                    Some(Err(error)) => return self.fail(error),
                    None => self.events.push_end(),
                },
                Err(error) => return self.fail(error),
            }
        }
        Poll::Ready(None)
    }

    fn fail(&mut self, error: OpenAiError) -> Poll<Option<Result<Chunk, OpenAiError>>> {
        self.bytes = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl<B> Stream for ChunkStream<B>
where
    B: Stream<Item = Result<Bytes, OpenAiError>> + Unpin,
{
    type Item = Result<Chunk, OpenAiError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        // One packet can contain thousands of chunks, and a reader that takes them in a loop would
        // never yield.
        ready!(this.budget.poll_spend(cx));
        let chunk = this.poll_chunk(cx);
        if chunk.is_pending() {
            this.budget.refill();
        }
        chunk
    }
}

/// The decoder and its state between packets. It does no I/O.
struct Events {
    decoder: SseDecoder,
    packet: Bytes,
    utf8: Utf8Check,
    /// The rest of the packet was invalid UTF-8 and was discarded.
    broken: bool,
    /// The server has closed the stream, and the HTTP response is complete.
    ended: bool,
    /// Which answers have a finish reason.
    ends: Ends,
    /// Bytes since the last chunk.
    silence: usize,
    /// The beginning of the text since the last event.
    aside: Vec<u8>,
    limits: Limits,
    key: Option<Secret>,
}

enum Step {
    Chunk(Chunk),
    NeedsBytes,
    End,
}

impl Events {
    fn new(key: Option<Secret>, limits: &Limits) -> Self {
        Self {
            decoder: SseDecoder::with_limit(limits.event),
            packet: Bytes::new(),
            utf8: Utf8Check::default(),
            broken: false,
            ended: false,
            ends: Ends::default(),
            silence: 0,
            aside: Vec::new(),
            limits: *limits,
            key,
        }
    }

    /// Takes the next packet. Call it after [`next`](Self::next) returned `NeedsBytes`.
    fn push(&mut self, mut packet: Bytes) {
        let good = self.utf8.accept(&packet);
        self.broken = good < packet.len();
        packet.truncate(good);
        self.packet = packet;
    }

    /// Completes the last event: some servers leave out the blank line after it.
    fn push_end(&mut self) {
        self.ended = true;
        self.packet = Bytes::from_static(b"\n\n");
    }

    fn next(&mut self) -> Result<Step, OpenAiError> {
        loop {
            let before = self.packet.clone();
            let event = self.decoder.next(&mut self.packet);
            self.silence += before.len() - self.packet.len();
            if event.is_some() {
                self.aside.clear();
            } else {
                let room = ASIDE_BYTES - self.aside.len();
                self.aside.extend_from_slice(&before[..before.len().min(room)]);
            }

            match event {
                Some(Ok(SseEvent::Message(event))) => {
                    if let Some(step) = self.read(&event)? {
                        self.silence = 0;
                        return Ok(step);
                    }
                }
                // The delay before a reconnect. A completion can't be resumed.
                Some(Ok(SseEvent::Retry(_))) => {}
                Some(Err(_)) => {
                    let limit = self.limits.event.get();
                    return Err(OpenAiError::EventTooLarge { limit });
                }
                None => return self.read_out(),
            }
        }
    }

    /// The step when the packet has no further event.
    fn read_out(&self) -> Result<Step, OpenAiError> {
        if self.broken {
            return Err(OpenAiError::NotUtf8);
        }
        if self.ended {
            return if self.ends.all() { Ok(Step::End) } else { Err(self.cut()) };
        }
        let limit = self.limits.silence;
        if self.silence > limit {
            return Err(OpenAiError::NoEvents { limit });
        }
        Ok(Step::NeedsBytes)
    }

    fn read(&mut self, event: &MessageEvent) -> Result<Option<Step>, OpenAiError> {
        let data = event.data.trim();
        if event.event == "error" {
            return Err(self.reported(data));
        }
        if data == DONE {
            return Ok(Some(Step::End));
        }
        if data.is_empty() {
            return Ok(None);
        }
        let answer = match &self.key {
            Some(key) => key.redact_answer(data.as_bytes()),
            None => data.as_bytes().into(),
        };
        match Chunk::parse(&answer) {
            Ok(chunk) if chunk.is_error() => Err(self.reported(data)),
            Ok(chunk) => {
                self.ends.note(&chunk);
                Ok(Some(Step::Chunk(chunk)))
            }
            // The stream ended within this event.
            Err(_) if self.ended => Err(OpenAiError::Cut { source: None }),
            Err(fault) => Err(OpenAiError::event(fault)),
        }
    }

    /// The reason why the stream ends before the answer. Some servers that have begun a stream send
    /// an error as plain JSON, or in a field that is not part of SSE.
    fn cut(&self) -> OpenAiError {
        let said = String::from_utf8_lossy(&self.aside);
        let mut said = said.trim();
        while said.starts_with(':') {
            // A comment.
            said = said.split_once('\n').map_or("", |(_, rest)| rest.trim_start());
        }
        let said = said.strip_prefix("error:").unwrap_or(said);
        match Chunk::parse(said.as_bytes()) {
            Ok(chunk) if chunk.is_error() => self.reported(said),
            _ => OpenAiError::Cut { source: None },
        }
    }

    fn reported(&self, data: &str) -> OpenAiError {
        ErrorBody::parse(data.as_bytes(), self.key.as_ref()).into_reported()
    }
}

/// Which of the answers in a stream have begun, and which have a finish reason. Each answer has a
/// bit, and the last bit is for all further answers.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    begun: u128,
    ended: u128,
}

impl Ends {
    fn note(&mut self, chunk: &Chunk) {
        for (position, choice) in chunk.choices.iter().enumerate() {
            let index = choice.index.map_or(position, |index| index as usize);
            let bit = 1 << index.min(127);
            self.begun |= bit;
            if choice.finish_reason.is_some() {
                self.ended |= bit;
            }
        }
    }

    fn all(self) -> bool {
        self.begun != 0 && self.begun == self.ended
    }
}

/// By hand: the buffered text is the user's conversation and must not be in a log.
impl core::fmt::Debug for Events {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Events")
            .field("ended", &self.ended)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
