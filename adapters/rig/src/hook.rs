//! What rig calls.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use rappel_core::{CallbackManager, EventKind};
use rig_agent::agent::{
    AgentHook, CompletionCallAction, CompletionCallEvent, DispatchAction, DispatchEvent,
    HookContext, InvalidToolCallAction, InvalidToolCallContext, ModelSelection,
    ModelSelectionAction, ObservationAction, OutcomeAction, OutcomeEvent, ReasoningDelta,
    RunSettled, RunStart, RunStartAction, StepEventKind, TextDelta, ToolCallDelta,
};

use crate::agent::AgentRun;
use crate::{RigHook, Settings, open};

/// The runs of a rig agent's run, for each hook that it has. It is in rig's scratchpad, which is
/// dropped with the run.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<Vec<OfHook>>>);

/// The address of a hook's settings, and its run.
type OfHook = (usize, Arc<AgentRun>);

impl RigHook {
    fn run(&self, ctx: &HookContext) -> Arc<AgentRun> {
        let pad = ctx.scratchpad();
        let runs = pad.get::<Runs>().unwrap_or_else(|| {
            let runs = Runs::default();
            pad.insert(runs.clone());
            runs
        });
        let Settings { callbacks, model } = &*self.0;
        let this = Arc::as_ptr(&self.0) as usize;
        let mut runs = runs.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, run)) = runs.iter().find(|(hook, _)| *hook == this) {
            return run.clone();
        }
        let run = Arc::new(AgentRun::new(callbacks, model));
        runs.push((this, run.clone()));
        run
    }

    /// Whether a handler may want one of these kinds.
    fn wants(&self, kinds: &[EventKind]) -> bool {
        let wanted = |manager: &CallbackManager| kinds.iter().any(|kind| manager.wants(*kind));
        wanted(&self.0.callbacks)
            || CallbackManager::current().as_ref().is_some_and(wanted)
            || open::any()
    }
}

/// Rig does not catch the panic of a hook.
async fn contained(on: &str, future: impl Future<Output = ()>) {
    if let Err(payload) = AssertUnwindSafe(future).catch_unwind().await {
        tracing::warn!("a panic in the rappel hook's {on} was contained");
        // The payload may panic in its own `Drop`. A leak is better than that.
        std::mem::forget(payload);
    }
}

impl AgentHook for RigHook {
    fn name(&self) -> Option<String> {
        Some("rappel".to_owned())
    }

    async fn on_run_start(&self, ctx: &HookContext, event: RunStart<'_>) -> RunStartAction {
        contained("on_run_start", self.run(ctx).start(ctx, event)).await;
        RunStartAction::Continue
    }

    async fn on_run_settled(&self, ctx: &HookContext, event: RunSettled<'_>) {
        contained("on_run_settled", self.run(ctx).settle(ctx, event)).await;
    }

    async fn on_completion_call(
        &self,
        ctx: &HookContext,
        event: CompletionCallEvent<'_>,
    ) -> CompletionCallAction {
        contained("on_completion_call", self.run(ctx).prepare(event)).await;
        CompletionCallAction::Continue
    }

    fn on_model_select(&self, ctx: &HookContext, _: ModelSelection<'_>) -> ModelSelectionAction {
        self.run(ctx).prepared();
        ModelSelectionAction::Continue
    }

    async fn on_invalid_tool_call(
        &self,
        ctx: &HookContext,
        event: &InvalidToolCallContext,
    ) -> Option<InvalidToolCallAction> {
        contained("on_invalid_tool_call", self.run(ctx).invalid_call(event)).await;
        None
    }

    async fn on_text_delta(&self, ctx: &HookContext, event: TextDelta<'_>) -> ObservationAction {
        let run = self.run(ctx);
        contained("on_text_delta", run.with_model(async |model| model.text(event).await)).await;
        ObservationAction::Continue
    }

    async fn on_reasoning_delta(
        &self,
        ctx: &HookContext,
        event: ReasoningDelta<'_>,
    ) -> ObservationAction {
        let run = self.run(ctx);
        let emitted = run.with_model(async |model| model.reasoning(event).await);
        contained("on_reasoning_delta", emitted).await;
        ObservationAction::Continue
    }

    async fn on_tool_call_delta(
        &self,
        ctx: &HookContext,
        event: ToolCallDelta<'_>,
    ) -> ObservationAction {
        let run = self.run(ctx);
        let emitted = run.with_model(async |model| model.tool_call(event).await);
        contained("on_tool_call_delta", emitted).await;
        ObservationAction::Continue
    }

    async fn on_dispatch(&self, ctx: &HookContext, event: DispatchEvent<'_>) -> DispatchAction {
        contained("on_dispatch", self.run(ctx).dispatch(ctx, event)).await;
        DispatchAction::Proceed
    }

    async fn on_outcome(&self, ctx: &HookContext, event: OutcomeEvent<'_>) -> OutcomeAction {
        contained("on_outcome", self.run(ctx).outcome(event)).await;
        OutcomeAction::Proceed
    }

    fn observes(&self, kind: StepEventKind) -> bool {
        match kind {
            StepEventKind::RunStart
            | StepEventKind::RunSettled
            | StepEventKind::InvalidToolCall
            | StepEventKind::CompletionCall
            | StepEventKind::CompletionDispatch
            | StepEventKind::ToolDispatch => self.wants(EventKind::ALL),
            // The tokens are also what a model's error says of the answer until then.
            StepEventKind::TextDelta
            | StepEventKind::ReasoningDelta
            | StepEventKind::ToolCallDelta => {
                self.wants(&[EventKind::LlmNewToken, EventKind::LlmError])
            }
            StepEventKind::RetrieveDispatch => self.wants(&[
                EventKind::RetrieverStart,
                EventKind::RetrieverEnd,
                EventKind::RetrieverError,
            ]),
            StepEventKind::MemoryDispatch => {
                self.wants(&[EventKind::ChainStart, EventKind::ChainEnd, EventKind::ChainError])
            }
            StepEventKind::ModelTurnFinished
            | StepEventKind::EmbedDispatch
            | StepEventKind::RerankDispatch
            | StepEventKind::CustomDispatch => false,
        }
    }
}
