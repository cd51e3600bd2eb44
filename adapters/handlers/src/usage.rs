//! Tokens, requests and cost, by model.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rappel_core::{
    Awaited, CallbackHandler, CallbackManager, Delivery, Event, EventContext, HandlerOptions,
    HandlerResult, InRun, Interest, LlmResult, RunError, RunId, RunInfo,
};

use crate::call::starts_and_ends;
use crate::prices::Asked;
use crate::traces::{Ended, Traces};
use crate::{Prices, Suited, Tokens};

/// Counts the tokens, requests and cost of all models, in all and for each open trace.
///
/// It is LangChain's `UsageMetadataCallbackHandler` and `OpenAICallbackHandler`. Clones share the
/// counts: register one, and read another.
///
/// ```
/// use futures_executor::block_on;
/// use rappel_handlers::{Price, Prices, Usage, With};
/// use rappel_testkit::{Answer, ScriptedChatModel};
/// use rappel_threads::prelude::*;
///
/// # fn main() -> Result<(), RunError> {
/// let usage = Usage::with_prices(Prices::new().with("scripted", Price::per_million(1.0, 2.0)));
/// let callbacks = CallbackManager::new(Threads::new()).with(usage.clone());
/// let answer = Answer::text("Why not?").usage(TokenUsage::new(4, 3));
/// let model = ScriptedChatModel::new([answer]).callbacks(callbacks);
///
/// block_on(model.invoke("Tell me a joke"))?;
///
/// let report = usage.report();
/// assert_eq!(report.total().tokens.input, 4);
/// assert_eq!(report.cost(), Some(0.00001));
/// # Ok(())
/// # }
/// ```
///
/// # What counts
/// An answer that carries usage is one request. So is the partial result of a run that failed, if it
/// carries usage. A failed attempt that is repeated inside the run has no answer, and is not
/// counted. An answer without usage is counted as [`unmeasured`](ModelUsage::unmeasured): some
/// servers send no usage with a stream unless they are asked for it.
///
/// The model is the one that answered, if the server names it. Otherwise it is the `model` of the
/// invocation parameters, or else the name of the run.
///
/// A model without a price is counted as [`unpriced`](ModelUsage::unpriced), never as free.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it pipelined. It counts off the event loop. When the
/// end of a run is awaited, the run is counted.
///
/// # Memory
/// It keeps one entry for each model, at most 1,000, and one for each open trace. Further models
/// are counted together, under the name `(other)`.
#[derive(Clone)]
pub struct Usage {
    prices: Prices,
    shared: Arc<Mutex<State>>,
    on_trace: Option<OnTrace>,
}

type OnTrace = Arc<dyn Fn(&RunInfo, &UsageReport) + Send + Sync>;

#[derive(Default)]
struct State {
    all: UsageReport,
    traces: Traces<TraceUsage>,
    /// The models of open runs.
    asked: HashMap<RunId, Asked>,
}

struct TraceUsage {
    root: Arc<RunInfo>,
    report: UsageReport,
}

impl Usage {
    /// A count without prices: every request is unpriced.
    #[must_use]
    pub fn new() -> Self {
        Self::with_prices(Prices::new())
    }

    /// A count with prices.
    #[must_use]
    pub fn with_prices(prices: Prices) -> Self {
        Self { prices, shared: Arc::default(), on_trace: None }
    }

    /// Calls `report` with the usage of each trace when its last run has ended. The run is the one
    /// that began the trace. Set it before you register the handler.
    ///
    /// It is called where the handler is, and must not call [`trace`](Self::trace) or
    /// [`report`](Self::report) of another thread that waits for it.
    #[must_use]
    pub fn on_trace_end(
        mut self,
        report: impl Fn(&RunInfo, &UsageReport) + Send + Sync + 'static,
    ) -> Self {
        self.on_trace = Some(Arc::new(report));
        self
    }

    /// Returns the usage of all runs that have ended.
    #[must_use]
    pub fn report(&self) -> UsageReport {
        self.with(|state| state.all.clone())
    }

    /// Returns the usage so far of the open trace that the run `id` belongs to. `None` if the run is
    /// not open.
    #[must_use]
    pub fn trace(&self, id: RunId) -> Option<UsageReport> {
        self.with(|state| state.traces.get(id).map(|trace| trace.report.clone()))
    }

    /// Starts the counts at zero again. Open traces keep theirs.
    pub fn reset(&self) {
        self.with(|state| state.all = UsageReport::default());
    }

    /// Runs `future`, and returns its output and the usage of everything inside it: of each model
    /// that finds its callbacks by [`CallbackManager::current`], as those of rappel do.
    ///
    /// It is LangChain's `get_openai_callback` and `get_usage_metadata_callback`. It needs no
    /// manager and no runtime. Scopes nest. A run counts if it has ended when `future` is ready.
    ///
    /// ```
    /// use futures_executor::block_on;
    /// use rappel_handlers::Usage;
    /// use rappel_testkit::{Answer, ScriptedChatModel};
    /// use rappel_core::prelude::*;
    ///
    /// let answer = Answer::text("Why not?").usage(TokenUsage::new(4, 3));
    /// let model = ScriptedChatModel::new([answer]);
    /// let (answer, usage) = block_on(Usage::scope(model.invoke("Tell me a joke")));
    /// assert_eq!(usage.total().tokens.total(), 7);
    /// # answer.unwrap();
    /// ```
    ///
    /// # Cancel safety
    /// Dropping it drops `future`.
    pub async fn scope<F: Future>(future: F) -> (F::Output, UsageReport) {
        Self::scope_with(Prices::new(), future).await
    }

    /// Does what [`scope`](Self::scope) does, with prices.
    pub async fn scope_with<F: Future>(prices: Prices, future: F) -> (F::Output, UsageReport) {
        // The handler is called inline, so that it needs no runtime. So the table is decoded before.
        prices.ready().await;
        let usage = Self::with_prices(prices);
        let outer = CallbackManager::current().unwrap_or_default();
        let manager = outer.with_handler_options(usage.clone(), Awaited::new().inline());
        let output = future.in_scope(&manager).await;
        (output, usage.report())
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&self, result: Option<&LlmResult>, ended_well: bool, run: RunId) {
        let asked = self.with(|state| state.asked.remove(&run));
        let counted = result.and_then(|result| {
            let model = result.model_name.clone();
            let provider = asked.as_ref().and_then(|asked| asked.provider.as_deref());
            let model = model.or_else(|| asked.as_ref().map(|asked| asked.model.clone()));
            let model = model.unwrap_or_else(|| "(unknown)".into());
            let mut one = ModelUsage::default();
            match &result.usage {
                Some(usage) => {
                    one.requests = 1;
                    one.tokens = Tokens::from(usage);
                    // Without the lock: it may decode a table.
                    match self.prices.cost(provider, &model, &one.tokens) {
                        Some(cost) => one.known_cost = cost,
                        None => one.unpriced = 1,
                    }
                }
                None if ended_well => one.unmeasured = 1,
                None => return None,
            }
            Some((model, one))
        });
        let ended = self.with(|state| {
            if let Some((model, one)) = counted {
                if let Some(trace) = state.traces.get_mut(run) {
                    trace.report.add(model.clone(), one);
                }
                state.all.add(model, one);
            }
            match state.traces.end(run) {
                Some(Ended::Trace(trace)) => Some(trace),
                Some(Ended::Run(_)) | None => None,
            }
        });
        if let (Some(trace), Some(report)) = (ended, &self.on_trace) {
            report(&trace.root, &trace.report);
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self::new()
    }
}

impl CallbackHandler for Usage {
    fn name(&self) -> &str {
        "Usage"
    }

    fn interest(&self) -> Interest {
        starts_and_ends()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        match event {
            Event::LlmEnd(end) => self.end(Some(&end.result), true, cx.id()),
            Event::LlmError(end) => {
                // The other process counts the whole run.
                let counts = !matches!(end.error, RunError::HandedOver);
                self.end(counts.then_some(&end.partial), false, cx.id());
            }
            event if event.kind().is_end() => self.end(None, false, cx.id()),
            event if event.kind().is_start() => self.with(|state| {
                let root = || TraceUsage { root: cx.run().clone(), report: UsageReport::default() };
                state.traces.start(cx, root);
                if let Some(asked) = Asked::of(event) {
                    state.asked.insert(cx.id(), asked);
                }
            }),
            _ => {}
        }
        Ok(())
    }
}

impl Suited for Usage {
    fn options(&self) -> HandlerOptions {
        Delivery::pipelined(64).into()
    }
}

impl fmt::Debug for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage").field("report", &self.report()).finish_non_exhaustive()
    }
}

/// What models used, by model.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct UsageReport {
    /// The usage of each model.
    pub models: BTreeMap<String, ModelUsage>,
}

impl UsageReport {
    /// Returns the sum over all models.
    #[must_use]
    pub fn total(&self) -> ModelUsage {
        let mut total = ModelUsage::default();
        self.models.values().for_each(|usage| total.add(*usage));
        total
    }

    /// Returns the cost in US dollars. `None` if the cost of a request is unknown:
    /// [`ModelUsage::known_cost`] of the total is then the cost of the others.
    #[must_use]
    pub fn cost(&self) -> Option<f64> {
        self.total().cost()
    }

    pub(crate) fn add(&mut self, model: String, more: ModelUsage) {
        const MOST_MODELS: usize = 1000;
        let full = self.models.len() >= MOST_MODELS && !self.models.contains_key(&model);
        let model = if full { "(other)".into() } else { model };
        self.models.entry(model).or_default().add(more);
    }
}

/// What one model used.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct ModelUsage {
    /// Answers that carried usage.
    pub requests: u64,
    /// Answers without usage. Their tokens are not in `tokens`.
    pub unmeasured: u64,
    /// The tokens.
    pub tokens: Tokens,
    /// The cost in US dollars of the requests whose price is known.
    pub known_cost: f64,
    /// Requests whose price is unknown. They are in `tokens`, and not in `known_cost`.
    pub unpriced: u64,
}

impl ModelUsage {
    /// Returns the cost in US dollars. `None` if the cost of a request is unknown.
    #[must_use]
    pub fn cost(&self) -> Option<f64> {
        (self.unpriced == 0 && self.unmeasured == 0).then_some(self.known_cost)
    }

    fn add(&mut self, more: Self) {
        self.requests = self.requests.saturating_add(more.requests);
        self.unmeasured = self.unmeasured.saturating_add(more.unmeasured);
        self.tokens += more.tokens;
        self.known_cost += more.known_cost;
        self.unpriced = self.unpriced.saturating_add(more.unpriced);
    }
}
