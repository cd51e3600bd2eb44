//! Finished traces, as data.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rappel_core::{
    CallbackHandler, Delivery, Event, EventContext, HandlerOptions, HandlerResult, Interest,
    LlmResult, RunError, RunId, RunInfo, TokenUsage, Value, json,
};

use crate::Suited;
use crate::call::starts_and_ends;
use crate::traces::{Ended, Traces};

/// Collects finished traces: trees of runs with inputs, outputs, times and usage.
///
/// It is LangChain's `RunCollectorCallbackHandler` and `collect_runs`. Clones share the traces:
/// register one, and read another.
///
/// ```
/// use futures_executor::block_on;
/// use rappel_handlers::{Collector, With};
/// use rappel_threads::prelude::*;
///
/// # fn main() -> Result<(), RunError> {
/// let collector = Collector::new(100);
/// let callbacks = CallbackManager::new(Threads::new()).with(collector.clone());
/// let chain = callbacks.on_chain_start(ChainStart::new("deep-thought", "the question")).wait()?;
/// let model = chain.child().on_llm_start(LlmStart::new("my-model", "6 x 9?")).wait()?;
/// model.end("42").wait()?;
/// chain.end("42").wait()?;
///
/// let traces = collector.take();
/// let root = traces[0].root();
/// assert_eq!((root.name(), root.inputs()), ("deep-thought", "the question".into()));
/// let child = traces[0].children(root).next().unwrap();
/// assert_eq!(child.outputs(), Some("42".into()));
/// # Ok(())
/// # }
/// ```
///
/// # Memory
/// It keeps a number of finished traces. If there are more, the oldest is dropped and counted. It
/// keeps at most 1,000 runs of a trace, or as many as [`runs_per_trace`](Self::runs_per_trace) says.
/// Further runs are counted. Each run has copies of its inputs and outputs. Tokens are not kept.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it pipelined. When the end of a root run is awaited,
/// its trace is here, unless a detached run under it is open.
///
/// # Failures
/// There are none.
#[derive(Clone)]
pub struct Collector(Arc<Mutex<State>>);

struct State {
    limit: usize,
    runs_per_trace: usize,
    open: Traces<CollectedTrace>,
    finished: VecDeque<Arc<CollectedTrace>>,
    dropped: usize,
}

impl Collector {
    /// Keeps at most `traces` finished traces.
    #[must_use]
    pub fn new(traces: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit: traces,
            runs_per_trace: 1000,
            open: Traces::default(),
            finished: VecDeque::new(),
            dropped: 0,
        })))
    }

    /// Sets the maximum number of runs that are kept of a trace, at least 1.
    #[must_use]
    pub fn runs_per_trace(self, runs: usize) -> Self {
        self.with(|state| state.runs_per_trace = runs.max(1));
        self
    }

    /// Returns the finished traces, oldest first.
    #[must_use]
    pub fn traces(&self) -> Vec<Arc<CollectedTrace>> {
        self.with(|state| state.finished.iter().cloned().collect())
    }

    /// Returns the finished traces, oldest first, and keeps them no longer.
    #[must_use]
    pub fn take(&self) -> Vec<Arc<CollectedTrace>> {
        self.with(|state| std::mem::take(&mut state.finished)).into()
    }

    /// Returns the number of finished traces that were dropped, because there were too many.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.with(|state| state.dropped)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn start(&mut self, event: &Event, cx: &EventContext) {
        let limit = self.runs_per_trace;
        self.open.start(cx, CollectedTrace::default).start(event, cx, limit);
    }

    fn end(&mut self, event: &Event, cx: &EventContext) {
        if let Some(trace) = self.open.get_mut(cx.id()) {
            trace.end(event, cx);
        }
        let Some(Ended::Trace(mut trace)) = self.open.end(cx.id()) else { return };
        trace.places = HashMap::new();
        self.finished.push_back(Arc::new(trace));
        while self.finished.len() > self.limit {
            self.finished.pop_front();
            self.dropped += 1;
        }
    }
}

impl CallbackHandler for Collector {
    fn name(&self) -> &str {
        "Collector"
    }

    fn interest(&self) -> Interest {
        starts_and_ends()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let kind = event.kind();
        self.with(|state| {
            if kind.is_start() {
                state.start(event, cx);
            } else if kind.is_end() {
                state.end(event, cx);
            }
        });
        Ok(())
    }
}

impl Suited for Collector {
    fn options(&self) -> HandlerOptions {
        Delivery::pipelined(64).into()
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|state| {
            f.debug_struct("Collector")
                .field("finished", &state.finished.len())
                .field("open", &state.open.len())
                .field("dropped", &state.dropped)
                .finish()
        })
    }
}

/// A trace: a root run, and all runs under it. [`Collector`] makes them.
#[derive(Debug, Default)]
pub struct CollectedTrace {
    /// In the order of their starts. The first is the root.
    runs: Vec<CollectedRun>,
    omitted: usize,
    /// The numbers of open runs. It is empty when the trace is finished.
    places: HashMap<RunId, usize>,
}

impl CollectedTrace {
    /// Returns the root: the run that began the trace.
    #[must_use]
    pub fn root(&self) -> &CollectedRun {
        &self.runs[0]
    }

    /// Returns the runs in the order of their starts. The first is the root.
    #[must_use]
    pub fn runs(&self) -> &[CollectedRun] {
        &self.runs
    }

    /// Returns the children of a run of this trace, in the order of their starts.
    pub fn children(&self, run: &CollectedRun) -> impl Iterator<Item = &CollectedRun> {
        run.children.iter().filter_map(|child| self.runs.get(*child))
    }

    /// Returns the number of runs that were left out, because there were too many.
    #[must_use]
    pub fn omitted(&self) -> usize {
        self.omitted
    }

    fn start(&mut self, event: &Event, cx: &EventContext, limit: usize) {
        if self.runs.len() >= limit {
            self.omitted += 1;
            return;
        }
        let place = self.runs.len();
        let parent = cx.parent_id().and_then(|parent| self.places.get(&parent).copied());
        if let Some(parent) = parent {
            self.runs[parent].children.push(place);
        }
        self.places.insert(cx.id(), place);
        self.runs.push(CollectedRun {
            info: cx.run().clone(),
            start: event.clone(),
            end: None,
            started: cx.time(),
            ended: None,
            children: Vec::new(),
        });
    }

    fn end(&mut self, event: &Event, cx: &EventContext) {
        let Some(place) = self.places.remove(&cx.id()) else { return };
        let run = &mut self.runs[place];
        run.end = Some(event.clone());
        run.ended = cx.time();
    }
}

/// A run of a [`CollectedTrace`].
#[derive(Debug)]
pub struct CollectedRun {
    info: Arc<RunInfo>,
    start: Event,
    end: Option<Event>,
    started: Option<Duration>,
    ended: Option<Duration>,
    children: Vec<usize>,
}

impl CollectedRun {
    /// Returns the run's ids, kind, name, tags and metadata.
    #[must_use]
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// Returns the run's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.info.name()
    }

    /// Returns the event that the run started with.
    #[must_use]
    pub fn start(&self) -> &Event {
        &self.start
    }

    /// Returns the event that the run ended with. `None` if the handler did not get it.
    #[must_use]
    pub fn end(&self) -> Option<&Event> {
        self.end.as_ref()
    }

    /// Returns when the run started, as the time since 1970, if the clock knows it.
    #[must_use]
    pub fn started(&self) -> Option<Duration> {
        self.started
    }

    /// Returns how long the run took, if the clock knows it.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended?.saturating_sub(self.started?))
    }

    /// Returns the inputs as JSON: a prompt, messages, inputs, or a query.
    #[must_use]
    pub fn inputs(&self) -> Value {
        match &self.start {
            Event::LlmStart(start) => start.prompt.clone().into(),
            Event::ChatModelStart(start) => json!(start.messages),
            Event::ChainStart(start) => start.inputs.clone(),
            Event::ToolStart(start) => {
                start.inputs.clone().unwrap_or_else(|| start.input.clone().into())
            }
            Event::RetrieverStart(start) => start.query.clone().into(),
            _ => Value::Null,
        }
    }

    /// Returns the outputs as JSON: the model's text, outputs, an output, or documents. `None` if
    /// the run failed.
    #[must_use]
    pub fn outputs(&self) -> Option<Value> {
        match self.end.as_ref()? {
            Event::LlmEnd(end) => Some(end.result.text().into()),
            Event::ChainEnd(end) => Some(end.outputs.clone()),
            Event::ToolEnd(end) => Some(end.output.clone()),
            Event::RetrieverEnd(end) => Some(json!(end.documents)),
            _ => None,
        }
    }

    /// Returns the error that the run ended with, if it did not end well.
    /// [`RunError::HandedOver`] is no failure: another process continues the run.
    #[must_use]
    pub fn error(&self) -> Option<&RunError> {
        self.end.as_ref()?.error()
    }

    /// Returns the result of a model, which is the partial result if the run failed.
    #[must_use]
    pub fn result(&self) -> Option<&LlmResult> {
        match self.end.as_ref()? {
            Event::LlmEnd(end) => Some(&end.result),
            Event::LlmError(end) => Some(&end.partial),
            _ => None,
        }
    }

    /// Returns the usage of a model, if the provider sends it.
    #[must_use]
    pub fn usage(&self) -> Option<&TokenUsage> {
        self.result()?.usage.as_ref()
    }
}
