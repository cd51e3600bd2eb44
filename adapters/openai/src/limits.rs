//! Limits for the size of an answer and for the waits.

use core::fmt;
use core::num::NonZeroUsize;
use core::time::Duration;

/// Limits in bytes, so that a server cannot fill the client's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The head of a response: the status line and the headers.
    pub(crate) header: usize,
    /// A response that is not a stream.
    pub(crate) body: usize,
    /// A stream, from its first event to its last.
    pub(crate) stream: usize,
    /// The data of one event of a stream.
    pub(crate) event: NonZeroUsize,
    /// The bytes between two chunks of a stream: comments, blank events, and the next event's own
    /// bytes. So it is well above `event`.
    pub(crate) silence: usize,
}

impl Limits {
    pub(crate) fn set_event(&mut self, event: NonZeroUsize) {
        self.event = event;
        self.silence = self.silence.max(event.get().saturating_mul(2));
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header: 64 << 10,
            body: 16 << 20,
            stream: 1 << 30,
            event: const { NonZeroUsize::new(1 << 20).expect("it is not zero") },
            silence: 8 << 20,
        }
    }
}

/// What a request was waiting for when a time limit was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// A connection: name resolution, TCP, proxy and TLS.
    Connect,
    /// The head of the response, including the connection.
    FirstByte,
    /// The next bytes of the response.
    Chunk,
    /// The end of the whole call, including all attempts.
    Total,
    /// The end of a response whose answer is complete. It is not an error of a call.
    Grace,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::FirstByte => "no response",
            Self::Chunk => "nothing more of the response",
            Self::Total => "no end of the answer",
            Self::Grace => "no end of the response",
        })
    }
}

/// The limit of each phase. `None` means no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) chunk: Option<Duration>,
    pub(crate) total: Option<Duration>,
    pub(crate) grace: Option<Duration>,
}

impl Times {
    pub(crate) fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Connect => self.connect,
            Phase::FirstByte => self.first_byte,
            Phase::Chunk => self.chunk,
            Phase::Total => self.total,
            Phase::Grace => self.grace,
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        Self {
            connect: Some(Duration::from_secs(10)),
            // A response that is not streamed begins when the answer is complete.
            first_byte: Some(Duration::from_secs(10 * MINUTE)),
            chunk: Some(Duration::from_secs(5 * MINUTE)),
            total: Some(Duration::from_secs(60 * MINUTE)),
            grace: Some(Duration::from_secs(2)),
        }
    }
}
