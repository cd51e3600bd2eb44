//! The text of an answer as a stream.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use rappel_core::record::EventRecord;
use rappel_core::{
    CallbackManager, Event, EventGroup, EventKind, Interest, RegisterError, RunError, RunId,
    RunKind,
};

use crate::buffer::{Lagged, SlowReader};
use crate::drive::Drive;
use crate::events::{EventStream, event_stream};
use crate::filter::EventFilter;

/// Makes a stream of the text of one trace's answer. [`TokenStream::attach`] connects it.
#[must_use]
pub fn token_stream() -> TokenStream {
    // What is not a start, an end or a token is not asked for.
    let interest = Interest::all()
        .without(EventKind::AgentAction)
        .without(EventKind::AgentFinish)
        .without_group(EventGroup::Text)
        .without_group(EventGroup::Retry)
        .without_group(EventGroup::CustomEvent);
    TokenStream {
        events: event_stream(EventFilter::new()).interest(interest),
        is_answer: Box::new(|answer| {
            answer.start.run_kind == RunKind::ChatModel && !answer.under_tool
        }),
        root: None,
        trace: None,
        tools: HashSet::new(),
        answers: HashMap::new(),
        has_answer: false,
        is_over: false,
    }
}

/// A model's run that could give the answer, for [`TokenStream::answer_of`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer<'a> {
    /// The record of the run's start, with its name, tags and metadata.
    pub start: &'a EventRecord,
    /// Whether the run is inside a tool's run.
    pub under_tool: bool,
}

type IsAnswer = Box<dyn Fn(&Answer<'_>) -> bool + Send + Sync>;

/// The text of the answer of one trace: the first that starts. It ends when the trace's root run
/// ends, and with an error if that failed or was cancelled.
///
/// If another process continues the root run, the last item is
/// `Err(TokenError::Run(RunError::HandedOver))`. The run has not failed, but the rest of the text does
/// not come here.
///
/// The answer is what chat models write that are not inside a tool, choice 0.
/// [`answer_of`](Self::answer_of) changes that. Completions (`on_llm_start`) are not chat models.
/// A model that does not stream has its whole text in one item, when its run ends.
///
/// If the root run of a trace is a retriever's or a tool's, and it succeeds without an answer inside, the
/// stream goes on with the next trace.
pub struct TokenStream {
    events: EventStream,
    is_answer: IsAnswer,
    /// The first run that started.
    root: Option<RunId>,
    /// The root run of its trace. It may have started before the stream was attached.
    trace: Option<RunId>,
    tools: HashSet<RunId>,
    /// The open runs whose text is the answer, and whether a token of theirs had text.
    answers: HashMap<RunId, bool>,
    /// Whether the trace has had a run whose text is the answer.
    has_answer: bool,
    is_over: bool,
}

/// Why a [`TokenStream`] has no more text. It is its last item.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The trace's root run failed, was stopped or was cancelled. With [`RunError::HandedOver`] it did
    /// not: another process continues it.
    #[error("the run ended early: {0}")]
    Run(RunError),
    /// The reader was too slow.
    #[error(transparent)]
    Lagged(#[from] Lagged),
    /// The stream ended before the run did: its runtime is gone.
    #[error("the stream ended before its run did")]
    CutShort,
}

impl TokenStream {
    /// Sets which models' text is the answer.
    #[must_use]
    pub fn answer_of(
        mut self,
        is_answer: impl Fn(&Answer<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.is_answer = Box::new(is_answer);
        self
    }

    /// Sets what happens if the reader is slow. Call it before [`attach`](Self::attach).
    #[must_use]
    pub fn slow_reader(mut self, slow: SlowReader) -> Self {
        self.events = self.events.slow_reader(slow);
        self
    }

    /// Stops a run at its next event if the reader is gone: see [`EventStream::stop_runs`].
    #[must_use]
    pub fn stop_runs(mut self) -> Self {
        self.events = self.events.stop_runs();
        self
    }

    /// Returns a copy of the manager that sends its events to this stream, too.
    ///
    /// # Errors
    /// See [`EventStream::attach`].
    pub fn attach(&self, callbacks: &CallbackManager) -> Result<CallbackManager, RegisterError> {
        self.events.attach(callbacks)
    }

    /// Makes the stream own and poll the work: see [`EventStream::drive`].
    pub fn drive<F: Future>(self, work: F) -> Drive<Self, F> {
        let buffer = Arc::clone(self.events.buffer());
        Drive::new(self, work, buffer)
    }

    /// What an event gives: nothing, or an item of the stream.
    fn item(&mut self, record: &EventRecord) -> Option<Result<String, TokenError>> {
        match record.event.as_ref()? {
            event if event.kind().is_start() => {
                self.root.get_or_insert(record.run);
                if *self.trace.get_or_insert(record.root) != record.root {
                    return None;
                }
                let parents = record.about.as_ref().map_or(&[][..], |about| &about.parents);
                let under_tool = parents.iter().any(|parent| self.tools.contains(parent));
                match record.run_kind {
                    RunKind::Tool => drop(self.tools.insert(record.run)),
                    RunKind::Llm | RunKind::ChatModel
                        if (self.is_answer)(&Answer { start: record, under_tool }) =>
                    {
                        self.answers.insert(record.run, false);
                        self.has_answer = true;
                    }
                    _ => {}
                }
                None
            }
            Event::LlmNewToken(token) => {
                if token.choice() != 0 || token.token.is_empty() {
                    return None;
                }
                *self.answers.get_mut(&record.run)? = true;
                Some(Ok(token.token.to_string()))
            }
            event if event.kind().is_end() => {
                let had_tokens = self.answers.remove(&record.run);
                self.tools.remove(&record.run);
                if self.root == Some(record.run) {
                    // A step before the answer, which is a trace of its own.
                    self.is_over = self.has_answer
                        || event.error().is_some()
                        || !matches!(record.run_kind, RunKind::Retriever | RunKind::Tool);
                    if !self.is_over {
                        (self.root, self.trace) = (None, None);
                    }
                }
                match event {
                    Event::LlmEnd(end) if had_tokens == Some(false) => {
                        let text = end.result.text();
                        (!text.is_empty()).then(|| Ok(text.to_owned()))
                    }
                    event if self.is_over => {
                        event.error().map(|error| Err(TokenError::Run(error.clone())))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl Stream for TokenStream {
    type Item = Result<String, TokenError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.is_over {
            let item = match ready!(Pin::new(&mut self.events).poll_next(cx)) {
                Some(Ok(record)) => self.item(&record),
                Some(Err(lagged)) => {
                    self.is_over = true;
                    Some(Err(lagged.into()))
                }
                None => {
                    self.is_over = true;
                    self.root.is_some().then_some(Err(TokenError::CutShort))
                }
            };
            if item.is_some() {
                return Poll::Ready(item);
            }
        }
        Poll::Ready(None)
    }
}

impl fmt::Debug for TokenStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenStream").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}
