//! The id of an entry in a stream.

use std::fmt;
use std::str::FromStr;

/// The id of an entry in a stream: the server's time, and a number within that millisecond.
///
/// Each entry of a stream has a greater id than the entries before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId {
    /// The server's time when the entry was added, in milliseconds since the Unix epoch.
    pub ms: u64,
    /// The number of the entry within this millisecond, from 0.
    pub seq: u64,
}

impl StreamId {
    /// The id before all entries.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };

    /// Makes an id.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// Returns the greatest id that is smaller than this one. For [`ZERO`](Self::ZERO) it returns `ZERO`.
    #[must_use]
    pub const fn before(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => self,
            (ms, 0) => Self { ms: ms - 1, seq: u64::MAX },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Parses the form that `Display` writes: `1700000000000-0`.
impl FromStr for StreamId {
    type Err = StreamIdError;

    fn from_str(text: &str) -> Result<Self, StreamIdError> {
        let (ms, seq) = text.split_once('-').ok_or(StreamIdError { _private: () })?;
        let number = |text: &str| text.parse().map_err(|_| StreamIdError { _private: () });
        Ok(Self { ms: number(ms)?, seq: number(seq)? })
    }
}

/// The text is not the id of an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is not the id of a stream's entry: write two numbers with a dash between them")]
pub struct StreamIdError {
    _private: (),
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::StreamId;

    #[test]
    fn ids_are_in_the_order_of_the_stream() {
        let id = |text: &str| text.parse::<StreamId>().unwrap();
        assert!(id("9-1") < id("10-0"));
        assert_eq!(id("10-0").before(), StreamId::new(9, u64::MAX));
        assert_eq!(id("10-7").before().to_string(), "10-6");
        assert_eq!(StreamId::ZERO.before(), StreamId::ZERO);
        assert!("10".parse::<StreamId>().is_err());
    }
}
