//! The AI SDK's UI message stream, version 1: what `useChat` reads.

use rappel_core::record::EventRecord;
use rappel_core::{FinishReason, Value};
use serde_json::json;

use super::Encoder;
use super::change::{Change, Outcome};
use super::view::View;
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
#[derive(Debug, Default)]
pub struct UiMessageStream {
    view: View,
    changes: Vec<Change>,
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

    fn start(&mut self, parts: &mut Vec<Value>) {
        if !std::mem::replace(&mut self.is_started, true) {
            parts.push(match &self.message_id {
                Some(id) => json!({ "type": "start", "messageId": id }),
                None => json!({ "type": "start" }),
            });
        }
    }

    fn write(&mut self, parts: &mut Vec<Value>) {
        for change in self.changes.drain(..) {
            if let Change::Usage { usage, .. } = &change {
                self.usage.0 += usage.prompt_tokens;
                self.usage.1 += usage.completion_tokens;
                let usage = json!({ "inputTokens": self.usage.0, "outputTokens": self.usage.1 });
                let metadata = json!({ "usage": usage });
                parts.push(json!({ "type": "message-metadata", "messageMetadata": metadata }));
            } else {
                parts.extend(part(change));
            }
        }
    }

    fn close(&mut self, lagged: Option<Lagged>, parts: &mut Vec<Value>) {
        if self.view.is_over() {
            return;
        }
        self.start(parts);
        let outcome = self.view.close(lagged, &mut self.changes);
        self.write(parts);
        parts.push(match outcome {
            Outcome::Finished(reason) => {
                json!({ "type": "finish", "finishReason": finish_reason(reason.as_ref()) })
            }
            Outcome::Cancelled => json!({ "type": "abort", "reason": "cancelled" }),
            Outcome::Failed { message, .. } => json!({ "type": "error", "errorText": message }),
        });
    }
}

impl Encoder for UiMessageStream {
    fn encode(&mut self, record: &EventRecord, parts: &mut Vec<Value>) {
        self.message_id.get_or_insert_with(|| record.run.to_string());
        self.start(parts);
        self.view.apply(record, &mut self.changes);
        self.write(parts);
    }

    fn lagged(&mut self, lagged: Lagged, parts: &mut Vec<Value>) {
        self.close(Some(lagged), parts);
    }

    fn finish(&mut self, parts: &mut Vec<Value>) {
        self.close(None, parts);
    }

    fn last_data(&self) -> Option<&'static str> {
        Some("[DONE]")
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        crate::sse::UI_MESSAGE_STREAM_HEADERS
    }
}

fn part(change: Change) -> Option<Value> {
    Some(match change {
        Change::ModelsOpen => json!({ "type": "start-step" }),
        Change::ModelsClosed => json!({ "type": "finish-step" }),
        Change::TextStart(id) => json!({ "type": "text-start", "id": id }),
        Change::Text(id, delta) => json!({ "type": "text-delta", "id": id, "delta": delta }),
        Change::TextEnd(id) => json!({ "type": "text-end", "id": id }),
        Change::ReasoningStart(id) => json!({ "type": "reasoning-start", "id": id }),
        Change::Reasoning(id, delta) => {
            json!({ "type": "reasoning-delta", "id": id, "delta": delta })
        }
        Change::ReasoningEnd(id) => json!({ "type": "reasoning-end", "id": id }),
        Change::CallStart { id, name } => {
            json!({ "type": "tool-input-start", "toolCallId": id, "toolName": name })
        }
        Change::CallArguments { id, delta } => {
            json!({ "type": "tool-input-delta", "toolCallId": id, "inputTextDelta": delta })
        }
        Change::Call { id, name, input, by_model, .. } => {
            let call = json!({
                "type": "tool-input-available", "toolCallId": id, "toolName": name, "input": input,
            });
            dynamic(call, by_model)
        }
        Change::CallFailed { id, name, arguments, error, .. } => json!({
            "type": "tool-input-error", "toolCallId": id, "toolName": name, "input": arguments,
            "errorText": error,
        }),
        Change::Output { id, output, by_model } => {
            let output = json!({
                "type": "tool-output-available", "toolCallId": id, "output": output,
            });
            dynamic(output, by_model)
        }
        Change::OutputError { id, error, by_model } => {
            let error =
                json!({ "type": "tool-output-error", "toolCallId": id, "errorText": error });
            dynamic(error, by_model)
        }
        Change::Custom { name, data } => {
            json!({ "type": format!("data-{name}"), "data": data })
        }
        Change::StepStarted(_) | Change::StepFinished(_) | Change::Usage { .. } => return None,
    })
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
