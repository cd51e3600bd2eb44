//! A limit on what models may use.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rappel_core::{
    AsyncCallbackHandler, CallbackManager, Event, EventContext, HandlerFuture, HandlerId,
    HandlerResult, Interest, LlmResult, RunId,
};

use crate::call::starts_and_ends;
use crate::gate::register_gate;
use crate::prices::{Asked, assert_dollars};
use crate::traces::Traces;
use crate::{Prices, Register, Tokens};

/// Stops further model runs when a number of tokens, calls or dollars is used up.
///
/// ```
/// use futures_executor::block_on;
/// use rappel_handlers::{Budget, BudgetError, With};
/// use rappel_testkit::{Answer, ScriptedChatModel};
/// use rappel_threads::prelude::*;
///
/// let budget = Budget::new().calls(1);
/// let callbacks = CallbackManager::new(Threads::new()).with(budget.clone());
/// let answers = [Answer::text("Why not?"), Answer::text("Because")];
/// let model = ScriptedChatModel::new(answers).callbacks(callbacks);
///
/// assert!(block_on(model.invoke("Tell me a joke")).is_ok());
/// let refused = block_on(model.invoke("Tell me another"));
/// assert!(matches!(refused, Err(RunError::Stopped(_))));
/// assert_eq!(budget.spent().calls, 1);
/// ```
///
/// Clones share what is spent. [`per_trace`](Self::per_trace) gives each trace a budget of its own.
///
/// # What it does not do
/// A run is refused if the budget is used up *when it starts*. The usage of a run is known at its
/// end. So a run is never stopped halfway, and the budget is overshot by what is in flight when it
/// is used up: by one run, or by as many as run side by side. Calls are counted at the start, and
/// are not overshot.
///
/// Tokens and cost are those that the provider reports. An answer without usage costs nothing here.
/// With [`cost`](Self::cost), a model without a price is refused.
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it awaited, with `raise_error`.
///
/// # Failures
/// A refused run ends as stopped, because of a [`BudgetError`].
#[derive(Clone)]
pub struct Budget {
    limits: Limits,
    prices: Prices,
    per_trace: bool,
    shared: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Default)]
struct Limits {
    tokens: Option<u64>,
    cost: Option<f64>,
    calls: Option<u64>,
}

#[derive(Default)]
struct State {
    all: Spent,
    traces: Traces<Spent>,
    asked: HashMap<RunId, Asked>,
}

/// What is spent of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Spent {
    /// Input and output tokens.
    pub tokens: u64,
    /// US dollars.
    pub cost: f64,
    /// Model runs that were started.
    pub calls: u64,
}

/// Why a run was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// The tokens are used up.
    #[error("the budget of {limit} tokens is used up: {spent} are spent")]
    Tokens {
        /// The limit.
        limit: u64,
        /// What is spent.
        spent: u64,
    },
    /// The money is used up.
    #[error("the budget of ${limit} is used up: ${spent} are spent")]
    Cost {
        /// The limit in US dollars.
        limit: f64,
        /// What is spent, in US dollars.
        spent: f64,
    },
    /// The calls are used up.
    #[error("the budget of {limit} calls is used up")]
    Calls {
        /// The limit.
        limit: u64,
    },
    /// The model has no price, so that a limit on cost could not hold.
    #[error("the budget is in dollars, and the model `{model}` has no price: add one to `Prices`")]
    Unpriced {
        /// The model.
        model: String,
    },
}

impl Budget {
    /// A budget without limits.
    #[must_use]
    pub fn new() -> Self {
        Self {
            limits: Limits::default(),
            prices: Prices::new(),
            per_trace: false,
            shared: Arc::default(),
        }
    }

    /// Sets the maximum number of input and output tokens.
    #[must_use]
    pub fn tokens(mut self, limit: u64) -> Self {
        self.limits.tokens = Some(limit);
        self
    }

    /// Sets the maximum cost in US dollars.
    ///
    /// # Panics
    /// If the limit is negative, infinite or not a number. No run would be refused, or every run.
    #[must_use]
    #[track_caller]
    #[doc(alias = "dollars")]
    pub fn cost(mut self, limit: f64, prices: Prices) -> Self {
        assert_dollars("the limit of a budget", limit);
        self.limits.cost = Some(limit);
        self.prices = prices;
        self
    }

    /// Sets the maximum number of model runs.
    #[must_use]
    pub fn calls(mut self, limit: u64) -> Self {
        self.limits.calls = Some(limit);
        self
    }

    /// Gives each trace, which is a root run and all runs under it, a budget of its own.
    #[must_use]
    pub fn per_trace(mut self) -> Self {
        self.per_trace = true;
        self
    }

    /// Returns what is spent, by all traces together.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.with(|state| state.all)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn start(&self, asked: Option<Asked>, cx: &EventContext) -> Result<(), BudgetError> {
        if let (Some(asked), Some(_)) = (&asked, self.limits.cost) {
            let (provider, model) = (asked.provider.as_deref(), asked.model.as_str());
            if self.prices.cost(provider, model, &Tokens::default()).is_none() {
                // It still belongs to its trace.
                self.with(|state| _ = state.traces.start(cx, Spent::default));
                return Err(BudgetError::Unpriced { model: model.to_owned() });
            }
        }
        self.with(|state| {
            let trace = state.traces.start(cx, Spent::default);
            let Some(asked) = asked else { return Ok(()) };
            let spent = if self.per_trace { *trace } else { state.all };
            self.limits.check(spent)?;
            trace.calls += 1;
            state.all.calls += 1;
            state.asked.insert(cx.id(), asked);
            Ok(())
        })
    }

    fn end(&self, result: Option<&LlmResult>, run: RunId) {
        let asked = self.with(|state| state.asked.remove(&run));
        let usage = result.and_then(|result| result.usage.as_ref());
        let more = usage.zip(asked).map(|(usage, asked)| {
            let tokens = Tokens::from(usage);
            let cost = self.prices.cost(asked.provider.as_deref(), &asked.model, &tokens);
            (tokens.total(), cost.unwrap_or_default())
        });
        self.with(|state| {
            if let Some((tokens, cost)) = more {
                let trace = state.traces.get_mut(run);
                for spent in [Some(&mut state.all), trace].into_iter().flatten() {
                    spent.tokens = spent.tokens.saturating_add(tokens);
                    spent.cost += cost;
                }
            }
            state.traces.end(run);
        });
    }
}

impl Limits {
    fn check(self, spent: Spent) -> Result<(), BudgetError> {
        match self {
            Self { calls: Some(limit), .. } if spent.calls >= limit => {
                Err(BudgetError::Calls { limit })
            }
            Self { tokens: Some(limit), .. } if spent.tokens >= limit => {
                Err(BudgetError::Tokens { limit, spent: spent.tokens })
            }
            Self { cost: Some(limit), .. } if spent.cost >= limit => {
                Err(BudgetError::Cost { limit, spent: spent.cost })
            }
            _ => Ok(()),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl AsyncCallbackHandler for Budget {
    fn name(&self) -> &str {
        "Budget"
    }

    fn interest(&self) -> Interest {
        starts_and_ends()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async move { self.handle(event, cx).await })
    }
}

impl Budget {
    async fn handle(&self, event: &Event, cx: &EventContext) -> HandlerResult {
        match event {
            Event::LlmEnd(end) => self.end(Some(&end.result), cx.id()),
            Event::LlmError(error) => self.end(Some(&error.partial), cx.id()),
            event if event.kind().is_end() => self.end(None, cx.id()),
            event => {
                self.prices.ready().await;
                self.start(Asked::of(event), cx)?;
            }
        }
        Ok(())
    }
}

impl Register for Budget {
    fn register(self, callbacks: &mut CallbackManager) -> HandlerId {
        register_gate(self, callbacks)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("spent", &self.spent()).finish_non_exhaustive()
    }
}
