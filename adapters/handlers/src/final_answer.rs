//! Only what follows a marker.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::ready;
use std::sync::Mutex;

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, EventKind, HandlerFuture,
    HandlerOptions, HandlerResult, Interest, LlmNewToken, RunId, SendHandler,
};

use crate::Suited;
use crate::call::{Inner, lock};

/// Passes a handler only those tokens of a model that follow a marker: `Final Answer:`, for example.
///
/// It is LangChain's `FinalStreamingStdOutCallbackHandler`, for agents that think in plain text.
///
/// ```
/// use rappel_handlers::{FinalAnswer, StreamingStdout, With};
/// use rappel_threads::prelude::*;
///
/// let answers = FinalAnswer::new(StreamingStdout::new());
/// let callbacks = CallbackManager::new(Threads::new()).with(answers);
/// # let _ = callbacks;
/// ```
///
/// The marker is found in the text of a run, however the text is split into tokens. Each choice of
/// each run is searched by itself. Blanks between the marker and the answer are not passed. A token
/// that has the end of the marker and the begin of the answer is passed with the latter.
///
/// It wraps a sync handler or an async one: `with_async_handler(FinalAnswer::new(handler))`. Events
/// other than tokens are passed unchanged. The result in `on_llm_end` is the whole text.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it as the sync handler inside it.
///
/// # Failures
/// Those of the handler inside it.
///
/// # Memory
/// As many bytes as the marker has, for each open run.
pub struct FinalAnswer<H> {
    inner: Inner<H>,
    marker: String,
    /// The choices of each open run.
    runs: Mutex<Runs>,
}

type Runs = HashMap<RunId, HashMap<u32, Search>>;

/// Maximum number of choices of a run. Their numbers come from servers.
const MOST_CHOICES: usize = 128;

impl<H> FinalAnswer<H> {
    /// Passes what follows `Final Answer:`.
    pub fn new(inner: H) -> Self {
        Self { inner: Inner::new(inner), marker: "Final Answer:".into(), runs: Mutex::default() }
    }

    /// Sets the marker. If it is empty, all text is passed.
    #[must_use]
    pub fn marker(mut self, marker: impl Into<String>) -> Self {
        self.marker = marker.into();
        self
    }

    /// What goes to the handler in place of an event. `None` if nothing does.
    fn passed<'a>(&self, event: &'a Event, run: RunId) -> Option<Cow<'a, Event>> {
        if let Event::LlmNewToken(token) = event {
            return self.answer(token, run).map(|token| Cow::Owned(token.into()));
        }
        if event.kind().is_end() {
            lock(&self.runs).remove(&run);
        }
        Some(Cow::Borrowed(event))
    }

    /// The token with what belongs to the answer. `None` if nothing does.
    fn answer(&self, token: &LlmNewToken, run: RunId) -> Option<LlmNewToken> {
        let mut runs = lock(&self.runs);
        let choices = runs.entry(run).or_default();
        if choices.len() >= MOST_CHOICES && !choices.contains_key(&token.choice()) {
            return None;
        }
        let search = choices.entry(token.choice()).or_default();
        let had_begun = search.has_begun;
        let text = search.feed(&token.token, &self.marker);
        if text == *token.token && search.is_found {
            return (had_begun || !text.is_empty()).then(|| token.clone());
        }
        if text.is_empty() {
            return None;
        }
        let mut answer = token.clone();
        answer.token = text.as_str().into();
        if let Some(chunk) = &mut answer.chunk {
            chunk.text = answer.token.clone();
            // They belong to text that is not passed.
            chunk.reasoning = Default::default();
            chunk.logprobs = Vec::new();
        }
        Some(answer)
    }
}

/// The search for the marker in one text.
#[derive(Debug, Default)]
struct Search {
    /// The end of the text so far: less than the marker.
    tail: String,
    is_found: bool,
    /// Text of the answer was passed.
    has_begun: bool,
}

impl Search {
    /// Takes the next piece of the text, and returns what of it belongs to the answer.
    fn feed(&mut self, piece: &str, marker: &str) -> String {
        let mut answer = if self.is_found {
            piece.to_owned()
        } else {
            self.tail.push_str(piece);
            match self.tail.find(marker) {
                Some(at) => {
                    self.is_found = true;
                    let tail = std::mem::take(&mut self.tail);
                    tail[at + marker.len()..].to_owned()
                }
                None => {
                    let mut cut = self.tail.len().saturating_sub(marker.len().saturating_sub(1));
                    while !self.tail.is_char_boundary(cut) {
                        cut -= 1;
                    }
                    self.tail.drain(..cut);
                    return String::new();
                }
            }
        };
        if !self.has_begun {
            answer.drain(..answer.len() - answer.trim_start().len());
            self.has_begun = !answer.is_empty();
        }
        answer
    }
}

impl<H: CallbackHandler> CallbackHandler for FinalAnswer<H> {
    fn name(&self) -> &str {
        self.inner.handler.name()
    }

    fn interest(&self) -> Interest {
        self.inner.interest() | own_interest()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        match self.passed(event, cx.id()) {
            Some(event) => self.inner.call(&event, cx),
            None => Ok(()),
        }
    }
}

impl<H: AsyncCallbackHandler> AsyncCallbackHandler for FinalAnswer<H> {
    fn name(&self) -> &str {
        self.inner.handler.name()
    }

    fn interest(&self) -> Interest {
        self.inner.async_interest() | own_interest()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        match self.passed(event, cx.id()) {
            Some(event) => {
                HandlerFuture::new(async move { self.inner.call_async(&event, cx).await })
            }
            None => HandlerFuture::new(ready(Ok(()))),
        }
    }
}

/// The kinds that the search needs.
fn own_interest() -> Interest {
    let tokens = Interest::only(EventKind::LlmNewToken);
    tokens.with(EventKind::LlmEnd).with(EventKind::LlmError)
}

impl<H: Suited> Suited for FinalAnswer<H>
where
    Self: SendHandler,
{
    fn options(&self) -> HandlerOptions {
        self.inner.handler.options()
    }
}

impl<H> fmt::Debug for FinalAnswer<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FinalAnswer")
            .field("marker", &self.marker)
            .field("open_runs", &lock(&self.runs).len())
            .finish_non_exhaustive()
    }
}
