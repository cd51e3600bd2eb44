//! The W3C trace context of a run's caller.

use core::fmt;
use core::str::FromStr;

/// The `traceparent` of the [W3C trace context]: the trace and the span that a run belongs to in the
/// telemetry of its caller.
///
/// It is parsed from the text of the HTTP header `traceparent` and written as that text. A later
/// version of the format is read as far as version 00 goes, and written as version 00.
///
/// ```
/// use rappel_core::TraceParent;
///
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let caller: TraceParent = text.parse()?;
/// assert!(caller.is_sampled());
/// assert_eq!(caller.to_string(), text);
/// # Ok::<(), rappel_core::TraceParentError>(())
/// ```
///
/// [W3C trace context]: https://www.w3.org/TR/trace-context/
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Makes a trace context. `None` if an id is all zero: the format forbids that.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Option<Self> {
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, flags })
    }

    /// Returns the id of the trace.
    #[must_use]
    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Returns the id of the caller's span.
    #[must_use]
    pub const fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Returns the flags. Bit 0 says that the caller records the trace.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// Returns `true` if the caller records the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// Reads a number of that many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let valid = text.len() == digits && text.bytes().all(is_digit);
    if valid { u128::from_str_radix(text, 16).ok() } else { None }
}

fn parse(text: &str) -> Option<TraceParent> {
    let mut parts = text.trim_ascii().split('-');
    let version = hex(parts.next()?, 2)?;
    let trace_id = hex(parts.next()?, 32)?;
    let span_id = hex(parts.next()?, 16)? as u64;
    let flags = hex(parts.next()?, 2)? as u8;
    let ends = parts.next().is_none();
    // Version 255 is forbidden. A later version may have more parts.
    let known = version != 0xff && (version != 0 || ends);
    known.then(|| TraceParent::new(trace_id.to_be_bytes(), span_id.to_be_bytes(), flags))?
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, TraceParentError> {
        parse(text).ok_or(TraceParentError { _private: () })
    }
}

/// Writes the value of the header.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trace_id = u128::from_be_bytes(self.trace_id);
        let span_id = u64::from_be_bytes(self.span_id);
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{:02x}", self.flags)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for TraceParent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for TraceParent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The text is not a `traceparent`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is not a traceparent: write 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
pub struct TraceParentError {
    _private: (),
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_no_traceparent_is_an_error() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let zeros = "00000000000000000000000000000000";
        for text in [
            "",
            "00",
            &alloc::format!("00-{zeros}-00f067aa0ba902b7-01"),
            &alloc::format!("00-{trace}-0000000000000000-01"),
            &alloc::format!("ff-{trace}-00f067aa0ba902b7-01"),
            &alloc::format!("00-{trace}-00f067aa0ba902b7-01-more"),
            &alloc::format!("00-{trace}-00F067AA0BA902B7-01"),
            &alloc::format!("00-{trace}-00f067aa0ba902b-01"),
        ] {
            assert!(text.parse::<TraceParent>().is_err(), "{text}");
        }
        let later: TraceParent =
            alloc::format!("01-{trace}-00f067aa0ba902b7-00-more").parse().expect("a later version");
        assert_eq!(later.to_string(), alloc::format!("00-{trace}-00f067aa0ba902b7-00"));
        assert!(!later.is_sampled());
    }
}
