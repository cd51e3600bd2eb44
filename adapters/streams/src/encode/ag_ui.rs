//! AG-UI 1.0: what `@ag-ui/client` reads.

use rappel_core::Value;
use rappel_core::record::EventRecord;
use serde_json::json;

use super::Encoder;
use super::change::{Change, Outcome};
use super::view::View;
use crate::buffer::Lagged;

/// Encodes AG-UI 1.0, for the thread and the run that the client's request names.
#[must_use]
pub fn ag_ui(thread_id: impl Into<String>, run_id: impl Into<String>) -> AgUi {
    AgUi {
        view: View::default(),
        changes: Vec::new(),
        thread_id: thread_id.into(),
        run_id: run_id.into(),
        is_started: false,
        usage: Vec::new(),
    }
}

/// AG-UI 1.0, for one run.
///
/// Chains and retrievers are steps. Custom events are `CUSTOM`. A cancelled request ends with
/// `RUN_FINISHED` and the outcome `cancelled`, one that failed, or whose reader lagged, with
/// `RUN_ERROR`.
#[derive(Debug)]
pub struct AgUi {
    view: View,
    changes: Vec<Change>,
    thread_id: String,
    run_id: String,
    is_started: bool,
    usage: Vec<Value>,
}

impl AgUi {
    fn start(&mut self, parts: &mut Vec<Value>) {
        if !std::mem::replace(&mut self.is_started, true) {
            parts.push(json!({
                "type": "RUN_STARTED", "threadId": self.thread_id, "runId": self.run_id,
            }));
        }
    }

    fn write(&mut self, parts: &mut Vec<Value>) {
        for change in self.changes.drain(..) {
            if let Change::Usage { model, usage } = change {
                self.usage.push(json!({
                    "model": model, "inputTokens": usage.prompt_tokens,
                    "outputTokens": usage.completion_tokens,
                }));
            } else {
                write(change, parts);
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
        let outcome = match outcome {
            Outcome::Finished(_) => "success",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed { message, code } => {
                parts.push(json!({ "type": "RUN_ERROR", "message": message, "code": code }));
                return;
            }
        };
        let mut part = json!({
            "type": "RUN_FINISHED", "threadId": self.thread_id, "runId": self.run_id,
            "outcome": { "type": outcome },
        });
        if !self.usage.is_empty() {
            part["usage"] = std::mem::take(&mut self.usage).into();
        }
        parts.push(part);
    }
}

impl Encoder for AgUi {
    fn encode(&mut self, record: &EventRecord, parts: &mut Vec<Value>) {
        if !self.is_started {
            // A page adds a text to the message of the same id, also to one of an earlier run.
            self.view.set_prefix(format!("{}-", record.run));
        }
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
}

fn write(change: Change, parts: &mut Vec<Value>) {
    match change {
        Change::StepStarted(name) => {
            parts.push(json!({ "type": "STEP_STARTED", "stepName": name }));
        }
        Change::StepFinished(name) => {
            parts.push(json!({ "type": "STEP_FINISHED", "stepName": name }));
        }
        Change::TextStart(id) => parts.push(json!({
            "type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant",
        })),
        Change::Text(id, delta) => parts.push(json!({
            "type": "TEXT_MESSAGE_CONTENT", "messageId": id, "delta": delta,
        })),
        Change::TextEnd(id) => parts.push(json!({ "type": "TEXT_MESSAGE_END", "messageId": id })),
        Change::ReasoningStart(id) => {
            parts.push(json!({ "type": "REASONING_START", "messageId": id }));
            parts.push(json!({
                "type": "REASONING_MESSAGE_START", "messageId": id, "role": "reasoning",
            }));
        }
        Change::Reasoning(id, delta) => parts.push(json!({
            "type": "REASONING_MESSAGE_CONTENT", "messageId": id, "delta": delta,
        })),
        Change::ReasoningEnd(id) => {
            parts.push(json!({ "type": "REASONING_MESSAGE_END", "messageId": id }));
            parts.push(json!({ "type": "REASONING_END", "messageId": id }));
        }
        Change::CallStart { id, name } => parts.push(call_start(&id, &name)),
        Change::CallArguments { id, delta } => parts.push(call_arguments(&id, &delta)),
        Change::Call { id, name, arguments: text, streamed, .. } => {
            call(&id, &name, &text, streamed, parts);
        }
        Change::CallFailed { id, name, arguments: text, error, streamed } => {
            call(&id, &name, &text, streamed, parts);
            parts.push(result(&id, error));
        }
        Change::Output { id, output, .. } => {
            let content = match output {
                Value::String(text) => text,
                other => other.to_string(),
            };
            parts.push(result(&id, content));
        }
        Change::OutputError { id, error, .. } => parts.push(result(&id, error)),
        Change::Custom { name, data } => {
            parts.push(json!({ "type": "CUSTOM", "name": name, "value": data }));
        }
        Change::ModelsOpen | Change::ModelsClosed | Change::Usage { .. } => {}
    }
}

fn call_start(id: &str, name: &str) -> Value {
    json!({ "type": "TOOL_CALL_START", "toolCallId": id, "toolCallName": name })
}

fn call_arguments(id: &str, delta: &str) -> Value {
    json!({ "type": "TOOL_CALL_ARGS", "toolCallId": id, "delta": delta })
}

/// The rest of a call whose input is complete, or the whole of it if it was not streamed.
fn call(id: &str, name: &str, arguments: &str, streamed: bool, parts: &mut Vec<Value>) {
    if !streamed {
        parts.push(call_start(id, name));
        if !arguments.is_empty() {
            parts.push(call_arguments(id, arguments));
        }
    }
    parts.push(json!({ "type": "TOOL_CALL_END", "toolCallId": id }));
}

fn result(id: &str, content: String) -> Value {
    json!({
        "type": "TOOL_CALL_RESULT", "messageId": format!("result-{id}"), "toolCallId": id,
        "content": content, "role": "tool",
    })
}
