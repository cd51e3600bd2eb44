//! The answers and the faults of a server.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::reply::Reply;

/// The default answer, token by token.
pub const JOKE: [&str; 14] = [
    "Why",
    " don",
    "'t",
    " scientists",
    " trust",
    " atoms",
    "?",
    "\n\n",
    "Because",
    " they",
    " make",
    " up",
    " everything",
    ".",
];

/// The answer of a server to every request.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) text: Text,
    pub(super) key: Option<String>,
    pub(super) fault: Option<Fault>,
    pub(super) faults: usize,
    pub(super) retry_after: String,
    pub(super) packets: Packets,
    pub(super) crlf: bool,
    pub(super) comments: bool,
    pub(super) bare: bool,
    pub(super) gated: bool,
    pub(super) pace: Option<Duration>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) refuses_stream_options: bool,
    pub(super) requires_reasoning: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Text {
    Tokens(Vec<String>),
    Echo,
    Given { whole: Value, events: Vec<Value> },
    Made(Make),
}

/// What makes the answer to a request.
#[derive(Clone)]
pub(super) struct Make(pub(super) Arc<dyn Fn(&Value) -> Reply + Send + Sync>);

impl fmt::Debug for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Make")
    }
}

/// A fault. Events count from 1: the first event of a stream has the role and no text, and each
/// further event has a token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// An answer with that status and body, and a `retry-after` header.
    Status(u16, String),
    /// The connection is closed before the answer begins.
    CutBeforeHeaders,
    /// The connection is closed in the body, after that many events.
    Cut(usize),
    /// The body is complete after that many events, but the answer is not.
    EndsEarly(usize),
    /// The server stalls after that many events.
    Stall(usize),
    /// After that many events, the server sends one with invalid JSON.
    BrokenJson(usize),
    /// After that many events, the server sends an error object and ends the stream.
    ErrorEvent(usize),
    /// After that many events, the server sends one of that many bytes.
    Oversized(usize, usize),
    /// The answer has the content type of HTML.
    WrongContentType,
    /// The answer is compressed.
    Gzip,
    /// The server reads the request and never answers.
    StallBeforeHeaders,
    /// The head of the answer has a header of that many bytes.
    LongHead(usize),
    /// The server redirects to that location.
    Redirect(String),
    /// After that many events, the connection is reset within the next one. A gated server waits
    /// for a permit before the reset.
    Reset(usize),
    /// After that many events, the server sends comments forever.
    EndlessComments(usize),
    /// The `content-length` is wrong by that many bytes.
    LyingLength(isize),
}

/// How a stream's bytes are split into packets.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Packets {
    /// That many events in each packet.
    Events(NonZeroUsize),
    /// That many bytes in each packet.
    Bytes(NonZeroUsize),
}

impl Packets {
    /// That many events in each packet.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn of_events(events: usize) -> Self {
        Self::Events(NonZeroUsize::new(events).expect("a packet is not empty"))
    }

    /// That many bytes in each packet.
    ///
    /// # Panics
    /// If it is 0.
    #[must_use]
    pub fn of_bytes(bytes: usize) -> Self {
        Self::Bytes(NonZeroUsize::new(bytes).expect("a packet is not empty"))
    }
}

impl Script {
    /// Answers with those tokens.
    pub fn tokens<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self::new(Text::Tokens(tokens.into_iter().map(Into::into).collect()))
    }

    /// Answers with a joke.
    #[must_use]
    pub fn joke() -> Self {
        Self::tokens(JOKE)
    }

    /// Answers with the words of the last message, one token each, so that a test can distinguish
    /// the answers of many conversations.
    #[must_use]
    pub fn echo() -> Self {
        Self::new(Text::Echo)
    }

    /// Answers with that JSON: `whole`, or `events` if the request asks for a stream.
    pub fn given(whole: Value, events: impl IntoIterator<Item = Value>) -> Self {
        Self::new(Text::Given { whole, events: events.into_iter().collect() })
    }

    /// Answers each request with what `make` returns for the request's JSON.
    pub fn made(make: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(Text::Made(Make(Arc::new(make))))
    }

    fn new(text: Text) -> Self {
        Self {
            text,
            key: None,
            fault: None,
            faults: usize::MAX,
            retry_after: "7".to_owned(),
            packets: Packets::of_events(1),
            crlf: false,
            comments: false,
            bare: false,
            gated: false,
            pace: None,
            headers: Vec::new(),
            refuses_stream_options: false,
            requires_reasoning: false,
        }
    }

    /// Refuses every other key. The error repeats the key, as some servers do.
    #[must_use]
    pub fn require_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header to every response.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Answers 400 to a request with `stream_options`, as some servers do.
    #[must_use]
    pub fn refuse_stream_options(mut self) -> Self {
        self.refuses_stream_options = true;
        self
    }

    /// Answers 400 to a request with a tool call that has no `reasoning_content`, as some servers
    /// do.
    #[must_use]
    pub fn require_reasoning(mut self) -> Self {
        self.requires_reasoning = true;
        self
    }

    /// Adds a fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Limits the fault to that many requests, from the first.
    #[must_use]
    pub fn times(mut self, requests: usize) -> Self {
        self.faults = requests;
        self
    }

    /// Sets the `retry-after` of the statuses 429 and 503. The default is 7 s.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        self.retry_after = value.into();
        self
    }

    /// Sets how the stream is split into packets.
    #[must_use]
    pub fn packets(mut self, packets: Packets) -> Self {
        self.packets = packets;
        self
    }

    /// Ends lines with CR LF.
    #[must_use]
    pub fn crlf(mut self) -> Self {
        self.crlf = true;
        self
    }

    /// Adds comments, blank lines and other fields between the data.
    #[must_use]
    pub fn comments(mut self) -> Self {
        self.comments = true;
        self
    }

    /// Leaves out fields that some compatible servers leave out (ids, times, indices, the model),
    /// and adds a field of its own.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Sends each event only after [`Server::release`](super::Server::release) permits it.
    #[must_use]
    pub fn gated(mut self) -> Self {
        self.gated = true;
        self
    }

    /// Waits that long before each packet of a stream, so that a user can watch the tokens come.
    #[must_use]
    pub fn paced(mut self, every: Duration) -> Self {
        self.pace = Some(every);
        self
    }
}
