//! The AI SDK's UI message stream, version 1: what `useChat` reads.

use rappel_core::record::EventRecord;
use rappel_core::{FinishReason, RunId, Value};
use serde_json::json;

use super::change::{Change, Outcome};
use super::view::View;
use super::{Encoder, Parts};
use crate::buffer::Lagged;

/// Encodes the AI SDK's UI message stream, version 1.
#[must_use]
pub fn ui_message_stream() -> UiMessageStream {
    UiMessageStream::default()
}

/// The AI SDK's UI message stream, version 1, for one message of an assistant.
///
/// Its parts are those of the page "Stream Protocols" of the AI SDK. Custom events are `data-NAME`
/// parts. The used tokens are in the metadata of the message: `usage.inputTokens` and
/// `usage.outputTokens`, summed over the models' runs. A cancelled request ends with `abort`, one
/// that failed, or whose reader lagged, with `error`, every other with `finish`.
///
/// A request that another process continues ([`RunError::HandedOver`]) ends with `abort` and the
/// reason `handed_over`. Its open tool calls get no error and no output.
///
/// [`RunError::HandedOver`]: rappel_core::RunError::HandedOver
#[derive(Debug, Default)]
pub struct UiMessageStream {
    view: View,
    message_id: Option<String>,
    is_started: bool,
    usage: (u64, u64),
}

impl UiMessageStream {
    /// Sets the id of the message. By default it is the id of the first run.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    fn start(&mut self, run: Option<RunId>, parts: &mut Parts) {
        if !std::mem::replace(&mut self.is_started, true) {
            let id = self.message_id.take().or_else(|| run.map(|run| run.to_string()));
            match &id {
                Some(id) => parts.push_texts(&[("messageId", id), ("type", "start")]),
                None => parts.push_texts(&[("type", "start")]),
            }
        }
    }

    fn close(&mut self, lagged: Option<Lagged>, parts: &mut Parts) {
        if self.view.is_over() {
            return;
        }
        self.start(None, parts);
        let Self { view, usage, .. } = self;
        let outcome = view.close(lagged, &mut |change| write(change, usage, parts));
        parts.push_texts(&match &outcome {
            Outcome::Finished(reason) => {
                [("finishReason", finish_reason(reason.as_ref())), ("type", "finish")]
            }
            Outcome::Cancelled => [("reason", "cancelled"), ("type", "abort")],
            Outcome::HandedOver => [("reason", "handed_over"), ("type", "abort")],
            Outcome::Failed { message, .. } => [("errorText", message), ("type", "error")],
        });
    }
}

impl Encoder for UiMessageStream {
    fn encode(&mut self, record: &EventRecord, parts: &mut Parts) {
        self.start(Some(record.run), parts);
        let Self { view, usage, .. } = self;
        view.apply(record, &mut |change| write(change, usage, parts));
    }

    fn lagged(&mut self, lagged: Lagged, parts: &mut Parts) {
        self.close(Some(lagged), parts);
    }

    fn finish(&mut self, parts: &mut Parts) {
        self.close(None, parts);
    }

    fn last_data(&self) -> Option<&'static str> {
        Some("[DONE]")
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        crate::sse::UI_MESSAGE_STREAM_HEADERS
    }
}

/// Adds what a change is in this protocol. `usage` is what all models have used.
fn write(change: Change<'_>, usage: &mut (u64, u64), parts: &mut Parts) {
    match change {
        Change::ModelsOpen => parts.push_texts(&[("type", "start-step")]),
        Change::ModelsClosed => parts.push_texts(&[("type", "finish-step")]),
        Change::TextStart(id) => parts.push_texts(&[("id", id), ("type", "text-start")]),
        Change::Text(id, delta) => {
            parts.push_texts(&[("delta", delta), ("id", id), ("type", "text-delta")]);
        }
        Change::TextEnd(id) => parts.push_texts(&[("id", id), ("type", "text-end")]),
        Change::ReasoningStart(id) => parts.push_texts(&[("id", id), ("type", "reasoning-start")]),
        Change::Reasoning(id, delta) => {
            parts.push_texts(&[("delta", delta), ("id", id), ("type", "reasoning-delta")]);
        }
        Change::ReasoningEnd(id) => parts.push_texts(&[("id", id), ("type", "reasoning-end")]),
        Change::CallStart { id, name } => parts.push_texts(&[
            ("toolCallId", id),
            ("toolName", name),
            ("type", "tool-input-start"),
        ]),
        Change::CallArguments { id, delta } => parts.push_texts(&[
            ("inputTextDelta", delta),
            ("toolCallId", id),
            ("type", "tool-input-delta"),
        ]),
        Change::Call { id, name, input, by_model, .. } => {
            let call = json!({
                "type": "tool-input-available", "toolCallId": id, "toolName": name, "input": input,
            });
            parts.push(&dynamic(call, by_model));
        }
        Change::CallFailed { id, name, arguments, error, .. } => parts.push_texts(&[
            ("errorText", error),
            ("input", arguments),
            ("toolCallId", id),
            ("toolName", name),
            ("type", "tool-input-error"),
        ]),
        Change::Output { id, output, by_model } => {
            let output = json!({
                "type": "tool-output-available", "toolCallId": id, "output": output,
            });
            parts.push(&dynamic(output, by_model));
        }
        Change::OutputError { id, error, by_model } => {
            let error =
                json!({ "type": "tool-output-error", "toolCallId": id, "errorText": error });
            parts.push(&dynamic(error, by_model));
        }
        Change::Custom { name, data } => {
            parts.push(&json!({ "type": format!("data-{name}"), "data": data }));
        }
        Change::Usage { usage: more, .. } => {
            usage.0 += more.prompt_tokens;
            usage.1 += more.completion_tokens;
            let usage = json!({ "inputTokens": usage.0, "outputTokens": usage.1 });
            let metadata = json!({ "usage": usage });
            parts.push(&json!({ "type": "message-metadata", "messageMetadata": metadata }));
        }
        Change::StepStarted(_) | Change::StepFinished(_) | Change::CallLeft { .. } => {}
    }
}

/// A call that no model announced is one of a tool that the page does not know.
fn dynamic(mut part: Value, by_model: bool) -> Value {
    if !by_model {
        part["dynamic"] = json!(true);
    }
    part
}

/// The reason in the protocol's closed list of words.
fn finish_reason(reason: Option<&FinishReason>) -> &'static str {
    match reason {
        None | Some(FinishReason::Stop) => "stop",
        Some(FinishReason::Length) => "length",
        Some(FinishReason::ToolCalls) => "tool-calls",
        Some(FinishReason::ContentFilter) => "content-filter",
        _ => "other",
    }
}
