//! What a server answers, and what it does wrong.

use std::num::NonZeroUsize;

use serde_json::Value;

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

/// What a server answers to every request, and how.
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
}

#[derive(Debug, Clone)]
pub(super) enum Text {
    Tokens(Vec<String>),
    Echo,
    Given { whole: Value, events: Vec<Value> },
}

/// Something that goes wrong. Events are counted from 1: the first one of a stream has the role and no text, then comes an event a token.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// An answer of that status, with that body, and a `retry-after` header.
    Status(u16, String),
    /// The connection is closed before the answer begins.
    CutBeforeHeaders,
    /// The connection is cut after so many events, in mid-body.
    Cut(usize),
    /// The body ends in good order after so many events, and before the answer does.
    EndsEarly(usize),
    /// Nothing comes after so many events.
    Stall(usize),
    /// After so many events comes one whose JSON is broken.
    BrokenJson(usize),
    /// After so many events comes an error object, and then the end.
    ErrorEvent(usize),
    /// After so many events comes one of that many bytes.
    Oversized(usize, usize),
    /// The answer says that it is HTML.
    WrongContentType,
    /// The answer says that it is compressed, and is.
    Gzip,
    /// The answer never begins.
    StallBeforeHeaders,
    /// The head of the answer has a header of that many bytes.
    LongHead(usize),
    /// The server sends its client to that location.
    Redirect(String),
    /// After so many events the connection is reset, in the middle of the next one. A gated server waits for that, too.
    Reset(usize),
    /// After so many events comes one comment after the other, without an end.
    EndlessComments(usize),
    /// The `content-length` is so many bytes more than there are, or less.
    LyingLength(isize),
}

/// How a stream's bytes are cut into packets.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Packets {
    /// An event a packet.
    Events(NonZeroUsize),
    /// So many bytes a packet: an event comes in many.
    Bytes(NonZeroUsize),
}

impl Packets {
    /// So many events in one packet.
    ///
    /// # Panics
    /// When it is 0.
    #[must_use]
    pub fn of_events(events: usize) -> Self {
        Self::Events(NonZeroUsize::new(events).expect("a packet has something in it"))
    }

    /// So many bytes a packet.
    ///
    /// # Panics
    /// When it is 0.
    #[must_use]
    pub fn of_bytes(bytes: usize) -> Self {
        Self::Bytes(NonZeroUsize::new(bytes).expect("a packet has something in it"))
    }
}

impl Script {
    /// Answers with that text, token by token.
    pub fn tokens<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> Self {
        Self::new(Text::Tokens(tokens.into_iter().map(Into::into).collect()))
    }

    /// Answers with a joke.
    #[must_use]
    pub fn joke() -> Self {
        Self::tokens(JOKE)
    }

    /// Answers with the last message's words, a token each, so that many conversations can be told apart.
    #[must_use]
    pub fn echo() -> Self {
        Self::new(Text::Echo)
    }

    /// Answers with that JSON: `whole`, or the data of those events to whoever wants a stream.
    pub fn given(whole: Value, events: impl IntoIterator<Item = Value>) -> Self {
        Self::new(Text::Given {
            whole,
            events: events.into_iter().collect(),
        })
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
        }
    }

    /// Refuses other keys than this one, and says which one it was given, as careless servers do.
    #[must_use]
    pub fn require_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Does that wrong.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// Does it wrong only with that many requests, the first ones.
    #[must_use]
    pub fn times(mut self, requests: usize) -> Self {
        self.faults = requests;
        self
    }

    /// What a status of 429 or 503 says in its `retry-after`: 7 s, unless this is called.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        self.retry_after = value.into();
        self
    }

    /// Cuts its stream into packets so.
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

    /// Puts comments, blank lines and other fields between the data.
    #[must_use]
    pub fn comments(mut self) -> Self {
        self.comments = true;
        self
    }

    /// Leaves out what compatible servers leave out (ids, times, indices, the model), and adds what they add.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Sends each event only once [`Server::release`](super::Server::release) lets it.
    #[must_use]
    pub fn gated(mut self) -> Self {
        self.gated = true;
        self
    }
}
