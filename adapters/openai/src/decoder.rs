//! The lines of an event stream, and JSON beside them: from bytes to texts.
//!
//! It reads what the standard of server-sent events describes, and what servers send in its place:
//!
//! - events that are parted by one line break: an event also ends when its JSON object does;
//! - JSON that is no event: a whole answer, objects in a row, or an error in the middle of a
//!   stream;
//! - JSON that goes on in lines without `data:`.
//!
//! It does no I/O, and its output does not depend on the borders of packets.

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2};

use crate::wire::ObjectEnd;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// The work after which the task has to yield. A step counts as one, and so do 256 bytes in it. A
/// line takes one or two steps.
const WORK_AT_ONCE: usize = 1024;

/// A part of a stream. Its text is in [`Decoder::name`] and [`Decoder::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// An event.
    Event,
    /// A JSON object that is no event.
    Object,
    /// No part. The decoder has done the work of one poll, and goes on after
    /// [`refill`](Decoder::refill).
    Pause,
}

/// A text is longer than its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooLarge {
    Event,
    Object,
    /// The bytes since the last part.
    Silence,
}

/// The limits in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DecoderLimits {
    pub(crate) event: usize,
    pub(crate) object: usize,
    pub(crate) silence: usize,
}

/// What the current line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing of it has been read, or only blanks.
    Start,
    /// A bracket, which begins a list of objects, or `[DONE]`.
    Bracket,
    Comment,
    Field,
    /// Inside of an object. It may have several lines.
    Object,
}

pub(crate) struct Decoder {
    limits: DecoderLimits,
    packet: Bytes,
    line: Line,
    /// The beginning of a field whose end has not arrived.
    partial: Vec<u8>,
    /// The last byte was a carriage return. A line feed after it is part of the same line break.
    after_return: bool,
    /// No line has ended yet.
    first_line: bool,
    name: Vec<u8>,
    /// A blank line has come after the event of that name.
    name_is_over: bool,
    text: Vec<u8>,
    /// `text` belongs to the last part.
    returned: bool,
    /// The event has data.
    has_data: bool,
    /// The data is blank so far.
    is_blank: bool,
    /// Where the object in `text` ends.
    end: ObjectEnd,
    /// Bytes that said nothing since [`heard`](Self::heard).
    silence: usize,
    /// A line was neither a field nor JSON.
    noise: bool,
    /// Nor was it text.
    binary: bool,
    /// The work that is left until the task has to yield.
    work_left: usize,
}

impl Decoder {
    pub(crate) fn new(limits: DecoderLimits) -> Self {
        Self {
            limits,
            packet: Bytes::new(),
            line: Line::Start,
            partial: Vec::new(),
            after_return: false,
            first_line: true,
            name: Vec::new(),
            name_is_over: false,
            text: Vec::new(),
            returned: false,
            has_data: false,
            is_blank: true,
            end: ObjectEnd::default(),
            silence: 0,
            noise: false,
            binary: false,
            work_left: WORK_AT_ONCE,
        }
    }

    /// Allows the work of another poll. Call it when the task yields.
    pub(crate) fn refill(&mut self) {
        self.work_left = WORK_AT_ONCE;
    }

    /// Takes the next packet. Call it after [`next`](Self::next) returned `None`.
    pub(crate) fn push(&mut self, packet: Bytes) {
        self.packet = packet;
    }

    /// Completes the last event: some servers leave out the blank line after it. What is left of the
    /// packet is not read.
    pub(crate) fn push_end(&mut self) {
        self.packet = match self.line {
            Line::Object => Bytes::new(),
            _ => Bytes::from_static(b"\n\n"),
        };
    }

    /// The name of the event.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The data of the event, or the object.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The beginning of an object whose end has not arrived.
    pub(crate) fn open_object(&self) -> Option<&[u8]> {
        (self.line == Line::Object).then_some(&*self.text)
    }

    /// Returns `true` if a line was neither a field nor JSON.
    pub(crate) fn has_noise(&self) -> bool {
        self.noise
    }

    /// Returns `true` if a line was not text.
    pub(crate) fn is_binary(&self) -> bool {
        self.binary
    }

    /// The last part said something.
    pub(crate) fn heard(&mut self) {
        self.silence = 0;
    }

    /// The next part of the packet, or `None` if there is no further one in it.
    pub(crate) fn next(&mut self) -> Result<Option<Part>, TooLarge> {
        self.forget_returned();
        while let Some(&byte) = self.packet.first() {
            if core::mem::take(&mut self.after_return) && byte == b'\n' {
                self.packet.advance(1);
                continue;
            }
            if self.work_left == 0 {
                return Ok(Some(Part::Pause));
            }
            let before = self.packet.len();
            let part = match self.line {
                Line::Start => self.start(byte),
                Line::Bracket => self.bracket(byte),
                Line::Comment => self.comment(),
                Line::Field => self.field()?,
                Line::Object => self.object()?,
            };
            let bytes = before - self.packet.len();
            self.work_left = self.work_left.saturating_sub(1 + bytes / 256);
            if part.is_some() {
                self.returned = true;
                self.silence = self.silence.saturating_add(self.text.len());
                return Ok(part);
            }
            if self.silence > self.limits.silence {
                return Err(TooLarge::Silence);
            }
        }
        Ok(None)
    }

    fn forget_returned(&mut self) {
        if core::mem::take(&mut self.returned) {
            self.text.clear();
            self.has_data = false;
            self.is_blank = true;
            self.end = ObjectEnd::default();
        }
        if core::mem::take(&mut self.name_is_over) {
            self.name.clear();
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.packet.advance(bytes);
        self.silence = self.silence.saturating_add(bytes);
    }

    fn line_break(&mut self, byte: u8) {
        self.after_return = byte == b'\r';
        self.first_line = false;
        self.line = Line::Start;
        self.skip(1);
    }

    fn start(&mut self, byte: u8) -> Option<Part> {
        match byte {
            b'\n' | b'\r' => {
                self.line_break(byte);
                self.name_is_over = true;
                if self.has_data {
                    return Some(Part::Event);
                }
                self.forget_returned();
            }
            b' ' | b'\t' => self.skip(1),
            b':' => self.line = Line::Comment,
            _ if self.has_data => self.line = Line::Field,
            // Commas and brackets are between the objects of a list.
            b',' | b']' => self.skip(1),
            b'[' => {
                self.line = Line::Bracket;
                self.partial.push(byte);
                self.skip(1);
            }
            b'{' => self.line = Line::Object,
            _ => self.line = Line::Field,
        }
        None
    }

    fn bracket(&mut self, byte: u8) -> Option<Part> {
        match byte {
            b' ' | b'\t' => self.skip(1),
            b'{' => {
                self.partial.clear();
                self.line = Line::Object;
            }
            _ => self.line = Line::Field,
        }
        None
    }

    fn comment(&mut self) -> Option<Part> {
        match memchr2(b'\n', b'\r', &self.packet) {
            Some(end) => {
                let byte = self.packet[end];
                self.skip(end);
                self.line_break(byte);
            }
            None => self.skip(self.packet.len()),
        }
        None
    }

    fn object(&mut self) -> Result<Option<Part>, TooLarge> {
        let end = self.end.feed(&self.packet);
        let here = self.packet.split_to(end.unwrap_or(self.packet.len()));
        self.push_object(&here, end.is_some())
    }

    fn push_object(&mut self, bytes: &[u8], ends: bool) -> Result<Option<Part>, TooLarge> {
        if self.text.len() + bytes.len() > self.limits.object {
            return Err(TooLarge::Object);
        }
        self.text.extend_from_slice(bytes);
        self.line = if ends { Line::Start } else { Line::Object };
        Ok(ends.then_some(Part::Object))
    }

    fn field(&mut self) -> Result<Option<Part>, TooLarge> {
        let end = memchr2(b'\n', b'\r', &self.packet);
        let here = self.packet.split_to(end.unwrap_or(self.packet.len()));
        // The name of the field is not counted.
        if self.partial.len() + here.len() > self.limits.event.saturating_add(b"data: ".len()) {
            return Err(TooLarge::Event);
        }
        let Some(&byte) = self.packet.first() else {
            self.partial.extend_from_slice(&here);
            return Ok(None);
        };
        let first = self.first_line;
        self.line_break(byte);
        let mut partial = core::mem::take(&mut self.partial);
        let line = if partial.is_empty() {
            &here[..]
        } else {
            partial.extend_from_slice(&here);
            &partial[..]
        };
        let line = if first { line.strip_prefix(MARK).unwrap_or(line) } else { line };
        let part = self.read_line(line);
        partial.clear();
        self.partial = partial;
        part
    }

    fn read_line(&mut self, line: &[u8]) -> Result<Option<Part>, TooLarge> {
        let (name, value) = match memchr(b':', line) {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => return self.push_data(value),
            b"event" => self.set_name(value),
            b"id" | b"retry" => {}
            _ if self.has_data && self.end.is_open() => return self.push_data(line),
            // llama.cpp has sent errors in a field of its own.
            b"error" if value.starts_with(b"{") => {
                self.set_name(b"error");
                return self.push_data(value);
            }
            b"[DONE]" => return self.push_data(line),
            // After a byte order mark.
            _ if line.starts_with(b"{") && !self.has_data => {
                let end = self.end.feed(line);
                return self.push_object(&line[..end.unwrap_or(line.len())], end.is_some());
            }
            _ => {
                self.noise = true;
                self.binary |= core::str::from_utf8(line).is_err();
            }
        }
        self.silence = self.silence.saturating_add(line.len());
        Ok(None)
    }

    fn set_name(&mut self, name: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(name);
    }

    fn push_data(&mut self, value: &[u8]) -> Result<Option<Part>, TooLarge> {
        if core::mem::replace(&mut self.has_data, true) {
            self.text.push(b'\n');
        }
        if self.text.len() + value.len() > self.limits.event {
            return Err(TooLarge::Event);
        }
        let begins = self.is_blank;
        self.is_blank = begins && value.iter().all(u8::is_ascii_whitespace);
        self.text.extend_from_slice(value);
        let value = value.trim_ascii();
        let goes_on = self.end.is_open() || (begins && value.starts_with(b"{"));
        let whole = goes_on && self.end.feed(value) == Some(value.len());
        Ok((whole || (begins && is_done(value))).then_some(Part::Event))
    }
}

/// By hand: the text is the user's conversation and must not be in a log.
impl core::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Decoder").field("line", &self.line).finish_non_exhaustive()
    }
}

/// Returns `true` for the data of the event that should end every stream, also in quotes.
pub(crate) fn is_done(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    let bare = data.strip_prefix(b"\"").and_then(|data| data.strip_suffix(b"\""));
    bare.unwrap_or(data) == b"[DONE]"
}

#[cfg(test)]
mod tests;
