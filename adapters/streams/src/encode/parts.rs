//! What encoders write.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The parts that an encoder has written, in order. Each part is JSON text.
///
/// [`Sse`](crate::Sse) sends them as server-sent events. For another transport, call an
/// [`Encoder`](crate::Encoder) with each record, send what [`iter`](Self::iter) gives, and
/// [`clear`](Self::clear) the parts.
///
/// ```
/// use rappel_core::json;
/// use rappel_streams::Parts;
///
/// let mut parts = Parts::default();
/// parts.push(&json!({ "type": "data-progress", "data": 3 }));
/// assert!(parts.iter().eq([r#"{"data":3,"type":"data-progress"}"#]));
/// ```
#[derive(Clone, Default)]
pub struct Parts {
    /// Server-sent events. They are UTF-8: they are made of texts and of what `serde_json` writes.
    frames: Vec<u8>,
}

const BEGIN: &str = "data: ";
const END: &str = "\n\n";

impl Parts {
    /// Adds a part.
    pub fn push(&mut self, part: &Value) {
        self.write(part);
    }

    /// Adds a part whose fields are texts. Their order is that of the keys, as in a [`Value`].
    pub(super) fn push_texts(&mut self, fields: &[(&str, &str)]) {
        self.write(&Texts(fields));
    }

    /// Adds a part of texts, numbers and JSON: what can be written in any case.
    pub(super) fn write(&mut self, part: &impl Serialize) {
        if self.frames.capacity() == 0 {
            // Most events are one frame of a short text.
            self.frames.reserve(128);
        }
        self.frames.extend_from_slice(BEGIN.as_bytes());
        let written = serde_json::to_writer(&mut self.frames, part);
        debug_assert!(written.is_ok(), "{written:?}");
        // JSON in this form has no line break.
        self.frames.extend_from_slice(END.as_bytes());
    }

    /// Adds a frame that is not JSON.
    pub(crate) fn push_frame(&mut self, frame: &str) {
        self.frames.extend_from_slice(frame.as_bytes());
        self.frames.extend_from_slice(END.as_bytes());
    }

    /// The parts as JSON text.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let frames = str::from_utf8(&self.frames).unwrap_or_default();
        frames.split_terminator(END).filter_map(|frame| frame.strip_prefix(BEGIN))
    }

    /// Returns `true` if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Removes all parts.
    pub fn clear(&mut self) {
        self.frames.clear();
    }

    /// Takes all parts, as server-sent events.
    pub(crate) fn take_frames(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.frames)).unwrap_or_default()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An object of texts.
pub(super) struct Texts<'a>(pub(super) &'a [(&'a str, &'a str)]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}
