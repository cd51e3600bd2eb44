//! The expectation of a run, as a value.

use std::fmt;
use std::sync::Arc;

use rappel_core::{Event, EventKind, RunError, RunInfo};

use crate::text::{says, title};

/// Makes an expectation of a run. Add its events in order, beginning with its start.
///
/// ```
/// use rappel_testkit::expect;
///
/// let expected = expect().chat_model_start().tokens(["a", "b"]).end();
/// ```
///
/// The run must have exactly these events. [`anything`](Expected::anything) stands for events that do
/// not matter.
pub fn expect() -> Expected {
    Expected::default()
}

/// The expectation of a run: see [`expect`].
#[derive(Clone, Default)]
#[must_use = "an expectation does nothing until a recorder asserts it"]
pub struct Expected {
    pub(crate) name: Option<String>,
    pub(crate) tags: Vec<String>,
    pub(crate) steps: Vec<Step>,
    pub(crate) inside: Vec<Expected>,
    pub(crate) others_inside: bool,
}

/// The expectation of one event, or of several.
#[derive(Clone)]
pub(crate) struct Step {
    what: What,
    says: Option<String>,
    partial: Option<String>,
    check: Option<Check>,
}

/// A further condition, and its description.
#[derive(Clone)]
struct Check(String, Arc<dyn Fn(&Event) -> bool + Send + Sync>);

#[derive(Clone)]
enum What {
    Kind(EventKind),
    /// Any number of tokens that make this text together.
    Text(String),
    End,
    Error(Option<Outcome>),
    Anything,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Cancelled,
    Panicked,
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
    /// The start of a text model.
    llm_start: LlmStart;
    /// The start of a chat model.
    chat_model_start: ChatModelStart;
    /// The start of a chain.
    chain_start: ChainStart;
    /// The start of a tool.
    tool_start: ToolStart;
    /// The start of a retriever.
    retriever_start: RetrieverStart;
    /// The choice of a tool by an agent.
    agent_action: AgentAction;
    /// The end of an agent. The run goes on.
    agent_finish: AgentFinish;
    /// A text.
    text: Text;
    /// A retry.
    retry: Retry;
    /// An event that the application defines.
    custom_event: CustomEvent;
}

impl Expected {
    /// An event of this kind.
    pub fn event(self, kind: EventKind) -> Self {
        self.step(What::Kind(kind))
    }

    /// A token with this text. The token of a tool call is empty.
    pub fn token(self, text: impl Into<String>) -> Self {
        self.event(EventKind::LlmNewToken).saying(text)
    }

    /// Tokens with these texts, one event each.
    pub fn tokens<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Self {
        texts.into_iter().fold(self, Self::token)
    }

    /// Any number of tokens that make this text together.
    pub fn tokens_making(self, text: impl Into<String>) -> Self {
        self.step(What::Text(text.into()))
    }

    /// The end of a run of any kind.
    pub fn end(self) -> Self {
        self.step(What::End)
    }

    /// Any error as the end of the run.
    pub fn error(self) -> Self {
        self.step(What::Error(None))
    }

    /// The end of a run that was cancelled: it was dropped, or its parent ended.
    pub fn cancelled(self) -> Self {
        self.step(What::Error(Some(Outcome::Cancelled)))
    }

    /// The end of a run whose code panicked.
    pub fn panicked(self) -> Self {
        self.step(What::Error(Some(Outcome::Panicked)))
    }

    /// The end of a run that a handler with `raise_error` stopped.
    pub fn stopped(self) -> Self {
        self.step(What::Error(Some(Outcome::Stopped)))
    }

    /// The end of a run whose code failed.
    pub fn failed(self) -> Self {
        self.step(What::Error(Some(Outcome::Failed)))
    }

    /// Any number of events, or none.
    pub fn anything(self) -> Self {
        self.step(What::Anything)
    }

    fn step(mut self, what: What) -> Self {
        self.steps.push(Step { what, says: None, partial: None, check: None });
        self
    }

    /// The text of the last event:
    ///
    /// - of a start: its prompt, its messages (`Human: Why?`, one per line), its inputs or its query;
    /// - of an end: the text of the answer, the outputs, or the documents (one per line);
    /// - of an error: its message;
    /// - of an agent's action or a custom event: its name.
    ///
    /// JSON is written without spaces.
    ///
    /// # Panics
    /// If no event was added before.
    pub fn saying(mut self, what: impl Into<String>) -> Self {
        self.last().says = Some(what.into());
        self
    }

    /// The text that the model had streamed before its error, which is the last event.
    ///
    /// # Panics
    /// If no event was added before.
    pub fn with_partial(mut self, text: impl Into<String>) -> Self {
        self.last().partial = Some(text.into());
        self
    }

    /// A condition on the last event, and its description for the report.
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
    /// If no event was added before.
    pub fn such_that(
        mut self,
        words: impl Into<String>,
        holds: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.last().check = Some(Check(words.into(), Arc::new(holds)));
        self
    }

    fn last(&mut self) -> &mut Step {
        self.steps.last_mut().expect("add an event before a condition on it")
    }

    /// The name of the run.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A tag of the run. It may have more.
    pub fn tagged(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// A child run of this run. Add several in the order of their starts. The order between the events
    /// of two runs is not checked.
    pub fn inside(mut self, child: Self) -> Self {
        self.inside.push(child);
        self
    }

    /// Allows more child runs than the expected ones.
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

    /// Whether the step is exactly one event.
    pub(crate) fn is_one(&self) -> bool {
        !matches!(self.what, What::Anything | What::Text(_))
    }

    /// How many events the step can cover, counted from the first one.
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
            What::End => event.kind().is_end() && event.error().is_none(),
            What::Error(outcome) => event
                .error()
                .is_some_and(|error| outcome.is_none() || *outcome == outcome_of(error)),
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
        let Event::LlmNewToken(token) = event else {
            break;
        };
        let Some(left) = rest.strip_prefix(&*token.token) else {
            break;
        };
        rest = left;
        if rest.is_empty() {
            lengths.push(index + 1);
        }
    }
    lengths
}

fn outcome_of(error: &RunError) -> Option<Outcome> {
    match error {
        RunError::Cancelled => Some(Outcome::Cancelled),
        RunError::Panicked(_) => Some(Outcome::Panicked),
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
            What::Error(Some(Outcome::Panicked)) => f.write_str("error, panicked")?,
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
