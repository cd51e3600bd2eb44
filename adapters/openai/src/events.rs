//! The events of an answer: what each part of a response means. It does no I/O.

use std::borrow::Cow;

use bytes::Bytes;

use crate::decoder::{Decoder, DecoderLimits, Part, TooLarge, is_done};
use crate::error::{JsonFault, OpenAiError};
use crate::error_body::ErrorBody;
use crate::limits::Limits;
use crate::responses::{Api, Meaning, Reader};
use crate::secret::Secrets;
use crate::server_info::ServerInfo;
use crate::wire::{Chunk, ObjectEnd, is_whole_object};

/// Names of events that only keep the connection open.
const HEARTBEATS: [&[u8]; 4] = [b"ping", b"heartbeat", b"keepalive", b"keep-alive"];

/// The state of an answer between packets.
pub(crate) struct Events {
    decoder: Decoder,
    limits: Limits,
    secrets: Secrets,
    /// A whole answer was requested.
    whole: bool,
    /// The response has a length, so that a missing part of it is noticed.
    pub(crate) has_length: bool,
    /// What the headers say, for errors.
    pub(crate) server: Box<ServerInfo>,
    /// The response has ended, well or not.
    over: bool,
    /// Why it did not end well.
    failure: Option<OpenAiError>,
    /// A chunk has arrived.
    begun: bool,
    /// A whole answer has arrived.
    has_whole: bool,
    /// Which choices have a finish reason.
    ends: Ends,
    /// The words of an event that may be an error. They are one if the answer stays incomplete.
    suspect: Option<ErrorBody>,
    /// The error of the chunk that was returned.
    pending: Option<OpenAiError>,
    /// The state of an answer of Responses.
    responses: Option<Reader>,
    /// The last event has come, and nothing is read after it.
    last: bool,
    /// What the last chunk changed: see [`completeness`](Self::completeness).
    change: Option<bool>,
}

/// What comes next.
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation for each chunk")]
pub(crate) enum Step {
    Chunk(Chunk),
    NeedsBytes,
    /// The task has to yield before it calls [`Events::next`] again.
    Pause,
    End,
}

impl Events {
    pub(crate) fn new(secrets: Secrets, limits: &Limits, whole: bool) -> Self {
        let decoder = Decoder::new(DecoderLimits {
            event: limits.event.get(),
            object: limits.body,
            // A whole answer has a limit of its own.
            silence: if whole { usize::MAX } else { limits.silence },
        });
        Self {
            decoder,
            limits: *limits,
            secrets,
            whole,
            has_length: false,
            server: Box::default(),
            over: false,
            failure: None,
            begun: false,
            has_whole: false,
            ends: Ends::default(),
            suspect: None,
            pending: None,
            responses: None,
            last: false,
            change: None,
        }
    }

    pub(crate) fn set_api(&mut self, api: Api) {
        self.responses = (api == Api::Responses).then(Reader::default);
    }

    /// Takes the next packet. Call it after [`next`](Self::next) returned `NeedsBytes`.
    pub(crate) fn push(&mut self, packet: Bytes) {
        self.decoder.push(packet);
    }

    /// The response has ended well.
    pub(crate) fn push_end(&mut self) {
        self.over = true;
        self.decoder.push_end();
    }

    /// The response has broken off, or is no longer read.
    pub(crate) fn push_failure(&mut self, error: OpenAiError) {
        self.failure = Some(error);
        self.push_end();
    }

    /// Allows the work of another poll. Call it when the task yields.
    pub(crate) fn refill(&mut self) {
        self.decoder.refill();
    }

    /// `Some(true)` if the last chunk completes the answer, or adds to a complete one.
    /// `Some(false)` if the answer was complete and goes on.
    pub(crate) fn completeness(&self) -> Option<bool> {
        self.change
    }

    pub(crate) fn next(&mut self) -> Result<Step, OpenAiError> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        if self.last {
            return Ok(Step::End);
        }
        loop {
            let step = match self.decoder.next() {
                Ok(Some(Part::Event)) => self.read_event()?,
                Ok(Some(Part::Object)) => self.read_object()?,
                Ok(Some(Part::Pause)) => Some(Step::Pause),
                Ok(None) if self.over => Some(self.end()?),
                Ok(None) => Some(Step::NeedsBytes),
                // What comes behind a complete answer is of no account.
                Err(_) if self.is_complete() => Some(Step::End),
                Err(error) => return Err(self.too_large(error)),
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.has_whole || self.ends.all()
    }

    fn too_large(&self, error: TooLarge) -> OpenAiError {
        match error {
            TooLarge::Event => OpenAiError::EventTooLarge { limit: self.limits.event.get() },
            TooLarge::Object => OpenAiError::BodyTooLarge { limit: self.limits.body },
            TooLarge::Silence => OpenAiError::NoEvents { limit: self.limits.silence },
        }
    }

    fn read_event(&mut self) -> Result<Option<Step>, OpenAiError> {
        let text = String::from_utf8_lossy(self.decoder.text()).into_owned();
        let mut data = text.trim();
        // Some proxies make an event of an event's line.
        while let Some(inner) = data.strip_prefix("data:") {
            data = inner.trim_start();
        }
        let name = self.decoder.name();
        if name == b"error" {
            return Err(self.reported(data));
        }
        if is_done(data.as_bytes()) {
            return self.done().map(Some);
        }
        // Some gateways make an event of a comment.
        if data.is_empty() || data.starts_with(':') || HEARTBEATS.contains(&name) {
            return Ok(None);
        }
        let has_name = !name.is_empty() && name != b"message";
        if has_name && !data.starts_with(['{', '[']) {
            return Ok(None);
        }
        let fault = match self.parse(data) {
            Ok(meaning) => return self.take_meaning(meaning, data, false),
            Err(fault) => fault,
        };
        if let Some(object) = inner_object(data) {
            if let Ok(meaning) = self.parse(&object) {
                return self.take_meaning(meaning, &object, false);
            }
        }
        match self.over {
            // The connection broke within this event.
            true if self.failure.is_some() => Ok(None),
            true => Err(OpenAiError::Cut { source: None }),
            false => Err(OpenAiError::event(fault)),
        }
    }

    /// Reads an object that is no event: a whole answer, a piece of a stream that has no events, or
    /// an error.
    fn read_object(&mut self) -> Result<Option<Step>, OpenAiError> {
        let text = String::from_utf8_lossy(self.decoder.text()).into_owned();
        match self.parse(&text) {
            Ok(meaning) => self.take_meaning(meaning, &text, true),
            Err(_) if self.is_complete() => Ok(None),
            Err(fault) => Err(OpenAiError::body(fault)),
        }
    }

    fn parse(&mut self, text: &str) -> Result<Meaning, JsonFault> {
        let json = self.secrets.redact_answer(text.as_bytes());
        match &mut self.responses {
            Some(reader) => reader.take(&json),
            None => Chunk::parse(&json).map(Meaning::Chunk),
        }
    }

    fn take_meaning(
        &mut self,
        meaning: Meaning,
        text: &str,
        bare: bool,
    ) -> Result<Option<Step>, OpenAiError> {
        match meaning {
            Meaning::Chunk(chunk) => self.take(chunk, text, bare),
            Meaning::Last(chunk) => {
                self.last = true;
                self.take(chunk, text, false)
            }
            Meaning::Failed(error) => Err(self.reported(&error)),
            Meaning::Nothing => {
                self.begun = true;
                self.decoder.heard();
                Ok(None)
            }
        }
    }

    /// Takes a chunk that is in `text`. `bare`: it is no event.
    fn take(
        &mut self,
        mut chunk: Chunk,
        text: &str,
        bare: bool,
    ) -> Result<Option<Step>, OpenAiError> {
        let first = !core::mem::replace(&mut self.begun, true);
        self.decoder.heard();
        if chunk.is_error() {
            if bare && self.is_complete() {
                return Ok(None);
            }
            let error = self.reported(text);
            if !chunk.choices.iter().any(|choice| choice.says_something()) {
                return Err(error);
            }
            self.pending = Some(error);
        } else if chunk.is_without_answer() {
            let words = ErrorBody::known(text.as_bytes(), &self.secrets);
            match words {
                Some(words) if bare && !self.is_complete() => {
                    return Err(words.into_reported(self.server.clone()));
                }
                Some(words) => self.suspect = Some(words),
                None if bare && first && chunk.is_foreign() => return Err(self.reported(text)),
                None => {}
            }
        }
        chunk.whole =
            bare && !chunk.choices.is_empty() && (self.whole || chunk.is_like_a_whole_answer());
        self.note(&chunk);
        Ok(Some(Step::Chunk(chunk)))
    }

    fn note(&mut self, chunk: &Chunk) {
        let (complete, ends) = (self.is_complete(), self.ends);
        self.ends.note(chunk);
        self.has_whole |= chunk.whole;
        let says = chunk.choices.iter().any(|choice| choice.says_something());
        self.change = match self.is_complete() {
            true => (says || !complete || self.ends.ended != ends.ended).then_some(true),
            false => complete.then_some(false),
        };
    }

    /// The server says that the answer is over.
    fn done(&mut self) -> Result<Step, OpenAiError> {
        match self.suspect.take() {
            Some(words) if !self.is_complete() => Err(words.into_reported(self.server.clone())),
            _ => Ok(Step::End),
        }
    }

    /// The response has ended, and all of it has been read.
    fn end(&mut self) -> Result<Step, OpenAiError> {
        let failure = self.failure.take();
        if self.is_complete() {
            // Of a whole answer with a length, the missing part may be important.
            return match failure {
                Some(error @ OpenAiError::Cut { .. }) if self.has_whole && self.has_length => {
                    Err(error)
                }
                _ => Ok(Step::End),
            };
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if let Some(words) = self.suspect.take() {
            return Err(words.into_reported(self.server.clone()));
        }
        if !self.begun && self.decoder.is_binary() {
            return Err(OpenAiError::NotUtf8);
        }
        if !self.begun && !self.whole && self.decoder.has_noise() {
            return Err(OpenAiError::body(JsonFault::NotAnObject));
        }
        if self.whole && self.ends.begun == 0 {
            if self.begun {
                return Ok(Step::End);
            }
            let open = self.decoder.open_object().unwrap_or_default();
            return match Chunk::parse(open) {
                Err(fault) => Err(OpenAiError::body(fault)),
                Ok(_) => Err(OpenAiError::Cut { source: None }),
            };
        }
        Err(OpenAiError::Cut { source: None })
    }

    fn reported(&self, data: &str) -> OpenAiError {
        ErrorBody::parse(data.as_bytes(), &self.secrets).into_reported(self.server.clone())
    }
}

/// The object in a list, which is Google's form of an error, or in a text, from a proxy that encodes
/// JSON twice.
fn inner_object(data: &str) -> Option<Cow<'_, str>> {
    if let Some(list) = data.strip_prefix('[') {
        let list = list.trim_start();
        let end = ObjectEnd::default().feed(list.as_bytes())?;
        return list.starts_with('{').then(|| list[..end].into());
    }
    let text: String = serde_json::from_str(data).ok()?;
    is_whole_object(&text).then(|| text.into())
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
            if choice.finish_reason().is_some() {
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
            .field("over", &self.over)
            .field("ends", &self.ends)
            .finish_non_exhaustive()
    }
}
