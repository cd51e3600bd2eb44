//! An open run of a model: its deltas, and its end.

use rappel_core::{LlmChunk, LlmResult, LlmRun, ToolCallChunk};
use rig_agent::agent::{ReasoningDelta, TextDelta, ToolCallDelta};
use rig_core::streaming::Part;

/// A completion that rig waits for. There is at most one for each run of an agent.
pub(crate) struct OpenModel {
    run: LlmRun,
    /// The parts of the stream that are tool calls, in order.
    calls: Vec<Part>,
    /// What is known of the answer, if it has a call that rig cannot dispatch. Rig tells a hook
    /// nothing more about such a turn.
    known: Option<LlmResult>,
}

impl OpenModel {
    pub(crate) fn new(run: LlmRun) -> Self {
        Self { run, calls: Vec::new(), known: None }
    }

    pub(crate) async fn text(&mut self, delta: TextDelta<'_>) {
        // A handler's failure is reported by the dispatcher, and steers nothing here.
        let _ = self.run.on_llm_new_token(delta.delta).await;
    }

    pub(crate) async fn reasoning(&mut self, delta: ReasoningDelta<'_>) {
        let _ = self.run.on_llm_new_token(LlmChunk::from_reasoning(delta.delta)).await;
    }

    pub(crate) async fn tool_call(&mut self, delta: ToolCallDelta<'_>) {
        let known = self.calls.iter().position(|part| *part == delta.part);
        let index = known.unwrap_or(self.calls.len());
        let mut piece = ToolCallChunk::new(u32::try_from(index).unwrap_or(u32::MAX), delta.delta);
        if known.is_none() {
            self.calls.push(delta.part);
            piece = piece.with_name(delta.tool_name);
        }
        let _ = self.run.on_llm_new_token(LlmChunk::default().with_tool_calls([piece])).await;
    }

    /// Keeps what is known of an answer with a call that rig cannot dispatch.
    pub(crate) fn keep(&mut self, known: LlmResult) {
        self.known = Some(known);
    }

    pub(crate) async fn end(self, result: LlmResult) {
        let _ = self.run.end(result).await;
    }

    /// Ends the run of a turn whose outcome rig does not tell.
    pub(crate) async fn end_with_what_is_known(mut self) {
        let known = self.known.take().unwrap_or_default();
        self.end(known).await;
    }

    pub(crate) async fn fail(self, error: rappel_core::RunError) {
        let _ = self.run.fail(error).await;
    }
}
