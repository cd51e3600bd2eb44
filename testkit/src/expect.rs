//! What a run is expected to be, as a value.

use std::fmt;
use std::sync::Arc;

use rappel_core::{Event, EventKind, RunError, RunInfo};

use crate::text::{says, title};

/// Expects a run: its events are added in order, beginning with its start.
///
/// ```
/// use rappel_testkit::expect;
///
/// let expected = expect().chat_model_start().tokens(["a", "b"]).end();
/// ```
///
/// Every event is expected, and none beside: leave some out with [`anything`](Expected::anything).
pub fn expect() -> Expected {
    Expected::default()
}

/// What a run is expected to be: see [`expect`].
#[derive(Clone, Default)]
#[must_use = "an expectation does nothing until a recorder asserts it"]
pub struct Expected {
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) inside: Vec<Expected>,
    pub(crate) others_inside: bool,
}

/// An event, or several.
#[derive(Clone)]
pub(crate) struct Step {
    what: What,
    says: Option<String>,
    partial: Option<String>,
    check: Option<Check>,
}

/// What is asked of an event beside, and in words.
#[derive(Clone)]
struct Check(String, Arc<dyn Fn(&Event) -> bool + Send + Sync>);

#[derive(Clone)]
enum What {
    Kind(EventKind),
    /// Tokens, as many as it takes, that make this text together.
    Text(String),
    End,
    Error(Option<Outcome>),
    Anything,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Cancelled,
    Stopped,
    Failed,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $method:ident: $kind:ident;)+) => {
        impl Expected {
            $($(#[$doc])* pub fn $method(self) -> Self {
                self.event(EventKind::$kind)
            })+
        }
    };
}
kinds! {
    /// A text model's start.
    llm_start: LlmStart;
    /// A chat model's start.
    chat_model_start: ChatModelStart;
    /// A chain's start.
    chain_start: ChainStart;
    /// A tool's start.
    tool_start: ToolStart;
    /// A retriever's start.
    retriever_start: RetrieverStart;
    /// An agent's choice of a tool.
    agent_action: AgentAction;
    /// An agent's end; the run goes on.
    agent_finish: AgentFinish;
    /// A text.
    text: Text;
    /// A retry.
    retry: Retry;
    /// An event of the application's own.
    custom_event: CustomEvent;
}

impl Expected {
    /// An event of that kind.
    pub fn event(self, kind: EventKind) -> Self {
        self.step(What::Kind(kind))
    }

    /// A token of that text. That of a tool call is empty.
    pub fn token(self, text: impl Into<String>) -> Self {
        self.event(EventKind::LlmNewToken).saying(text)
    }

    /// Tokens of these texts, an event each.
    pub fn tokens<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Self {
        texts.into_iter().fold(self, Self::token)
    }

    /// Tokens, however many, that make this text together.
    pub fn tokens_making(self, text: impl Into<String>) -> Self {
        self.step(What::Text(text.into()))
    }

    /// The end of whatever kind of run it is.
    pub fn end(self) -> Self {
        self.step(What::End)
    }

    /// An error as the run's end, whatever it is.
    pub fn error(self) -> Self {
        self.step(What::Error(None))
    }

    /// The run's end as cancelled: it was dropped.
    pub fn cancelled(self) -> Self {
        self.step(What::Error(Some(Outcome::Cancelled)))
    }

    /// The run's end by a handler with `raise_error`.
    pub fn stopped(self) -> Self {
        self.step(What::Error(Some(Outcome::Stopped)))
    }

    /// The run's end by a failure of what ran.
    pub fn failed(self) -> Self {
        self.step(What::Error(Some(Outcome::Failed)))
    }

    /// Events that do not matter, or none.
    pub fn anything(self) -> Self {
        self.step(What::Anything)
    }

    fn step(mut self, what: What) -> Self {
        self.steps.push(Step {
            what,
            says: None,
            partial: None,
            check: None,
        });
        self
    }

    /// What the last event says: a start its prompt, its messages (`Human: Why?`, one a line) or its inputs, an end the answer's text, or the outputs, an error
    /// its text, an agent's action or a custom event its name. What is JSON is written as JSON, without spaces.
    ///
    /// # Panics
    /// When there is no event before it.
    pub fn saying(mut self, what: impl Into<String>) -> Self {
        self.last().says = Some(what.into());
        self
    }

    /// The text that a model's error says there was by then.
    ///
    /// # Panics
    /// When there is no event before it.
    pub fn with_partial(mut self, text: impl Into<String>) -> Self {
        self.last().partial = Some(text.into());
        self
    }

    /// What else is asked of the last event, and in words for who reads the difference.
    ///
    /// ```
    /// # use rappel_core::{Event, FinishReason};
    /// # use rappel_testkit::expect;
    /// let expected = expect().anything().end().such_that("it asks for tools", |event| match event {
    ///     Event::LlmEnd(end) => end.result.finish_reason() == Some(&FinishReason::ToolCalls),
    ///     _ => false,
    /// });
    /// ```
    ///
    /// # Panics
    /// When there is no event before it.
    pub fn such_that(mut self, words: impl Into<String>, holds: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        self.last().check = Some(Check(words.into(), Arc::new(holds)));
        self
    }

    fn last(&mut self) -> &mut Step {
        self.steps.last_mut().expect("an event that this is said of")
    }

    /// The run's name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A tag that the run has, perhaps beside others.
    pub fn tagged(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// A run inside this one, which has it as its parent. Several are expected in the order of their starts. Between the events of the two nothing is said
    /// of the order.
    pub fn inside(mut self, child: Self) -> Self {
        self.inside.push(child);
        self
    }

    /// Runs inside this one that are not expected do not matter.
    pub fn others_inside(mut self) -> Self {
        self.others_inside = true;
        self
    }

    pub(crate) fn is_named_as(&self, run: &RunInfo) -> bool {
        let named = self.name.as_ref().is_none_or(|name| name == run.name());
        named && self.tags.iter().all(|tag| run.tags().contains(tag))
    }

    pub(crate) fn heading(&self) -> String {
        heading(self.name.as_deref().unwrap_or("any"), &self.tags)
    }
}

pub(crate) fn heading(name: &str, tags: &[String]) -> String {
    match tags {
        [] => format!("run {name}"),
        tags => format!("run {name}, tagged {}", tags.join(", ")),
    }
}

impl Step {
    pub(crate) fn is_anything(&self) -> bool {
        matches!(self.what, What::Anything)
    }

    /// Whether it is one event, no more and no less.
    pub(crate) fn is_one(&self) -> bool {
        !matches!(self.what, What::Anything | What::Text(_))
    }

    /// How many of the events, from the first on, it can be.
    pub(crate) fn lengths(&self, events: &[&Event]) -> Vec<usize> {
        if let What::Text(text) = &self.what {
            return lengths_of_text(text, events);
        }
        match events.first() {
            Some(event) if self.is(event) => vec![1],
            _ => Vec::new(),
        }
    }

    fn is(&self, event: &Event) -> bool {
        let kind = match &self.what {
            What::Kind(kind) => event.kind() == *kind,
            What::End => event.kind().is_end() && error_of(event).is_none(),
            What::Error(outcome) => error_of(event).is_some_and(|error| outcome.is_none() || *outcome == outcome_of(error)),
            What::Text(_) | What::Anything => false,
        };
        let partial = match (&self.partial, event) {
            (None, _) => true,
            (Some(text), Event::LlmError(error)) => error.partial.text() == text,
            (Some(_), _) => false,
        };
        kind && partial
            && self.says.as_ref().is_none_or(|text| *text == says(event))
            && self.check.as_ref().is_none_or(|check| (check.1)(event))
    }
}

fn lengths_of_text(text: &str, events: &[&Event]) -> Vec<usize> {
    let (mut rest, mut lengths) = (text, Vec::new());
    for (index, event) in events.iter().enumerate() {
        let Event::LlmNewToken(token) = event else { break };
        let Some(left) = rest.strip_prefix(&*token.token) else { break };
        rest = left;
        if rest.is_empty() {
            lengths.push(index + 1);
        }
    }
    lengths
}

fn error_of(event: &Event) -> Option<&RunError> {
    match event {
        Event::LlmError(error) => Some(&error.error),
        Event::ChainError(error) => Some(&error.error),
        Event::ToolError(error) => Some(&error.error),
        Event::RetrieverError(error) => Some(&error.error),
        _ => None,
    }
}

fn outcome_of(error: &RunError) -> Option<Outcome> {
    match error {
        RunError::Cancelled => Some(Outcome::Cancelled),
        RunError::Stopped(_) => Some(Outcome::Stopped),
        RunError::Failed(_) => Some(Outcome::Failed),
        _ => None,
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Kind(kind) => f.write_str(title(*kind))?,
            What::Text(text) => write!(f, "tokens making {text:?}")?,
            What::End => f.write_str("end")?,
            What::Error(None) => f.write_str("error")?,
            What::Error(Some(Outcome::Cancelled)) => f.write_str("error, cancelled")?,
            What::Error(Some(Outcome::Stopped)) => f.write_str("error, stopped")?,
            What::Error(Some(Outcome::Failed)) => f.write_str("error, failed")?,
            What::Anything => f.write_str("…")?,
        }
        if let Some(says) = &self.says {
            write!(f, " {says:?}")?;
        }
        if let Some(partial) = &self.partial {
            write!(f, " after {partial:?}")?;
        }
        if let Some(Check(words, _)) = &self.check {
            write!(f, " such that {words}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        f.debug_struct("Expected")
            .field("name", &self.name)
            .field("tags", &self.tags)
            .field("steps", &steps)
            .field("inside", &self.inside)
            .finish_non_exhaustive()
    }
}
