//! From bytes to chunks: the event stream of a streamed answer.

use core::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use sse_core::{MessageEvent, SseDecoder, SseEvent};

use crate::{
    budget::Budget, error::OpenAiError, error_body::ErrorBody, limits::Limits, response::ResponseBody, secret::Secret, utf8::Utf8Check,
    wire::Chunk,
};

/// The data of the event that ends every stream, or should.
const DONE: &str = "[DONE]";

/// As much is remembered of what came since the last event. It matters only if it is an error.
const ASIDE_BYTES: usize = 64 << 10;

/// The chunks of a streamed answer, as they arrive.
///
/// It ends after `[DONE]`, after an error, or when the server has closed the
/// stream behind the finish reasons of all answers; without one, the answer counts as cut. Once
/// ended, it stays so, and the connection is closed.
#[derive(Debug)]
pub(crate) struct ChunkStream<B = ResponseBody> {
    /// `None` once the stream has ended.
    bytes: Option<B>,
    events: Events,
    budget: Budget,
    /// What becomes of the bytes behind the answer's end.
    over: fn(B),
}

impl<B> ChunkStream<B> {
    /// Whatever a server says is searched for `key`, should it be an error.
    pub(crate) fn new(bytes: B, key: Option<Secret>, limits: &Limits) -> Self {
        Self {
            bytes: Some(bytes),
            events: Events::new(key, limits),
            budget: Budget::new(),
            over: drop,
        }
    }

    /// Hands what is left of the bytes to `over`, once the answer has come to its end.
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
        // One packet can hold thousands of chunks, and a reader that takes them
        // in a loop would not notice that it never waits.
        ready!(this.budget.poll_spend(cx));
        let chunk = this.poll_chunk(cx);
        if chunk.is_pending() {
            this.budget.refill();
        }
        chunk
    }
}

/// The decoder, and what has to be remembered between packets. It does no I/O.
struct Events {
    decoder: SseDecoder,
    packet: Bytes,
    utf8: Utf8Check,
    /// The rest of the packet was no UTF-8, and was left out.
    broken: bool,
    /// The server has closed the stream, in good order as far as HTTP is concerned.
    ended: bool,
    /// Which answers have said why they ended.
    ends: Ends,
    /// Bytes since the last chunk.
    silence: usize,
    /// The first of what has come since the last event, and is none yet.
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

    /// Takes the next packet, once [`next`](Self::next) has asked for it.
    fn push(&mut self, mut packet: Bytes) {
        let good = self.utf8.accept(&packet);
        self.broken = good < packet.len();
        packet.truncate(good);
        self.packet = packet;
    }

    /// Some servers leave out the blank line behind their last event.
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
                // How soon to reconnect; a completion can't be resumed anyway.
                Some(Ok(SseEvent::Retry(_))) => {}
                Some(Err(_)) => {
                    let limit = self.limits.event.get();
                    return Err(OpenAiError::EventTooLarge { limit });
                }
                None => return self.read_out(),
            }
        }
    }

    /// What to do when the packet holds no further event.
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

    /// Why the stream ends before the answer does. Some servers that have begun a stream write an error as it is, or in a field that no decoder
    /// knows.
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

/// Which of the answers in a stream have begun, and which have said why they ended: a bit each, the last of which is for all the rest.
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

/// By hand: what is buffered is the user's conversation, and no business of a log.
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
