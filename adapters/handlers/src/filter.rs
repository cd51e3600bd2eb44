//! Events of some kinds and of some runs only.

use std::fmt;
use std::sync::Arc;

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, EventKind, HandlerFuture,
    HandlerOptions, HandlerResult, Interest, RunInfo, RunKind, SendHandler,
};

use crate::Suited;
use crate::call::both;

/// Passes a handler the events of some kinds, names, tags or kinds of runs only.
///
/// It wraps a sync handler or an async one. Each condition narrows what passes. An event that does
/// not pass costs the handler nothing: kinds are left out at registration, and the others are
/// compared with the run's name and tags.
///
/// ```
/// use rappel_handlers::{Filter, StreamingStdout, With};
/// use rappel_threads::prelude::*;
///
/// let answers = Filter::new(StreamingStdout::new()).tags(["answer"]);
/// let callbacks = CallbackManager::new(Threads::new()).with(answers);
/// # let _ = callbacks;
/// ```
///
/// Conditions on a run apply to each run by itself: a child may pass although its parent does not.
/// Tags that children inherit choose whole trees.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it as the handler inside it.
///
/// # Failures
/// Those of the handler inside it.
#[derive(Clone)]
pub struct Filter<H> {
    inner: H,
    kinds: Interest,
    runs: Vec<Condition>,
}

type Condition = Arc<dyn Fn(&RunInfo) -> bool + Send + Sync>;

impl<H> Filter<H> {
    /// A filter that passes everything.
    pub fn new(inner: H) -> Self {
        Self { inner, kinds: Interest::all(), runs: Vec::new() }
    }

    /// Passes these kinds of events only.
    #[must_use]
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        let kinds = kinds.into_iter().fold(Interest::none(), Interest::with);
        self.kinds = both(self.kinds, kinds);
        self
    }

    /// Passes all but these kinds of events.
    #[must_use]
    pub fn without_kinds(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.kinds = kinds.into_iter().fold(self.kinds, Interest::without);
        self
    }

    /// Passes runs with one of these names only.
    #[must_use]
    pub fn names<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        self.matching(move |run| names.iter().any(|name| name == run.name()))
    }

    /// Passes runs with at least one of these tags only.
    #[must_use]
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        let tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        self.matching(move |run| run.tags().iter().any(|tag| tags.contains(tag)))
    }

    /// Passes these kinds of runs only.
    #[must_use]
    pub fn run_kinds(self, kinds: impl IntoIterator<Item = RunKind>) -> Self {
        let kinds: Vec<RunKind> = kinds.into_iter().collect();
        self.matching(move |run| kinds.contains(&run.kind()))
    }

    /// Passes runs that `condition` returns `true` for only. It is asked about each event, and must
    /// give one answer for all events of a run.
    #[must_use]
    pub fn matching(
        mut self,
        condition: impl Fn(&RunInfo) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.runs.push(Arc::new(condition));
        self
    }

    fn passes(&self, run: &RunInfo) -> bool {
        self.runs.iter().all(|condition| condition(run))
    }
}

impl<H: CallbackHandler> CallbackHandler for Filter<H> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn interest(&self) -> Interest {
        both(self.inner.interest(), self.kinds)
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        if self.passes(cx) { self.inner.on_event(event, cx) } else { Ok(()) }
    }
}

impl<H: AsyncCallbackHandler> AsyncCallbackHandler for Filter<H> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn interest(&self) -> Interest {
        both(self.inner.interest(), self.kinds)
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        if self.passes(cx) {
            self.inner.on_event(event, cx)
        } else {
            HandlerFuture::new(std::future::ready(Ok(())))
        }
    }
}

impl<H: Suited> Suited for Filter<H>
where
    Self: SendHandler,
{
    fn options(&self) -> HandlerOptions {
        self.inner.options()
    }
}

impl<H: fmt::Debug> fmt::Debug for Filter<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter")
            .field("inner", &self.inner)
            .field("kinds", &self.kinds)
            .field("conditions", &self.runs.len())
            .finish()
    }
}
