//! AG-UI 1.0: what `@ag-ui/client` reads.

use rappel_core::Value;
use rappel_core::record::EventRecord;
use serde_json::json;

use super::change::{Change, Outcome};
use super::view::View;
use super::{Encoder, Parts};
use crate::buffer::Lagged;

/// Encodes AG-UI 1.0, for the thread and the run that the client's request names.
#[must_use]
pub fn ag_ui(thread_id: impl Into<String>, run_id: impl Into<String>) -> AgUi {
    AgUi {
        view: View::default(),
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
///
/// A request that another process continues ([`RunError::HandedOver`]) ends as a cancelled one: the
/// protocol has no outcome for it. Its open tool calls get no result.
///
/// [`RunError::HandedOver`]: rappel_core::RunError::HandedOver
#[derive(Debug)]
pub struct AgUi {
    view: View,
    thread_id: String,
    run_id: String,
    is_started: bool,
    usage: Vec<Value>,
}

impl AgUi {
    fn start(&mut self, parts: &mut Parts) {
        if !std::mem::replace(&mut self.is_started, true) {
            let (thread, run) = (&*self.thread_id, &*self.run_id);
            let fields = [("runId", run), ("threadId", thread), ("type", "RUN_STARTED")];
            parts.push_texts(&fields);
        }
    }

    fn close(&mut self, lagged: Option<Lagged>, parts: &mut Parts) {
        if self.view.is_over() {
            return;
        }
        self.start(parts);
        let Self { view, usage, .. } = self;
        let outcome = view.close(lagged, &mut |change| write(change, usage, parts));
        let outcome = match outcome {
            Outcome::Finished(_) => "success",
            Outcome::Cancelled | Outcome::HandedOver => "cancelled",
            Outcome::Failed { message, code } => {
                let fields = [("code", &*code), ("message", &*message), ("type", "RUN_ERROR")];
                parts.push_texts(&fields);
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
        parts.push(&part);
    }
}

impl Encoder for AgUi {
    fn encode(&mut self, record: &EventRecord, parts: &mut Parts) {
        if !self.is_started {
            // A page adds a text to the message of the same id, also to one of an earlier run.
            self.view.set_prefix(format!("{}-", record.run));
        }
        self.start(parts);
        let Self { view, usage, .. } = self;
        view.apply(record, &mut |change| write(change, usage, parts));
    }

    fn lagged(&mut self, lagged: Lagged, parts: &mut Parts) {
        self.close(Some(lagged), parts);
    }

    fn finish(&mut self, parts: &mut Parts) {
        self.close(None, parts);
    }
}

/// Adds what a change is in this protocol. `used` is what each model has used.
fn write(change: Change<'_>, used: &mut Vec<Value>, parts: &mut Parts) {
    match change {
        Change::StepStarted(name) => {
            parts.push_texts(&[("stepName", name), ("type", "STEP_STARTED")]);
        }
        Change::StepFinished(name) => {
            parts.push_texts(&[("stepName", name), ("type", "STEP_FINISHED")]);
        }
        Change::TextStart(id) => parts.push_texts(&[
            ("messageId", id),
            ("role", "assistant"),
            ("type", "TEXT_MESSAGE_START"),
        ]),
        Change::Text(id, delta) => parts.push_texts(&[
            ("delta", delta),
            ("messageId", id),
            ("type", "TEXT_MESSAGE_CONTENT"),
        ]),
        Change::TextEnd(id) => parts.push_texts(&[("messageId", id), ("type", "TEXT_MESSAGE_END")]),
        Change::ReasoningStart(id) => {
            parts.push_texts(&[("messageId", id), ("type", "REASONING_START")]);
            parts.push_texts(&[
                ("messageId", id),
                ("role", "reasoning"),
                ("type", "REASONING_MESSAGE_START"),
            ]);
        }
        Change::Reasoning(id, delta) => parts.push_texts(&[
            ("delta", delta),
            ("messageId", id),
            ("type", "REASONING_MESSAGE_CONTENT"),
        ]),
        Change::ReasoningEnd(id) => {
            parts.push_texts(&[("messageId", id), ("type", "REASONING_MESSAGE_END")]);
            parts.push_texts(&[("messageId", id), ("type", "REASONING_END")]);
        }
        Change::CallStart { id, name } => call_start(id, name, parts),
        Change::CallArguments { id, delta } => call_arguments(id, delta, parts),
        Change::Call { id, name, arguments, streamed, .. } => {
            call(id, name, arguments, streamed, parts);
        }
        Change::CallFailed { id, name, arguments, error, streamed } => {
            call(id, name, arguments, streamed, parts);
            result(id, error, parts);
        }
        Change::CallLeft { id } => call_end(id, parts),
        Change::Output { id, output, .. } => match output {
            Value::String(text) => result(id, text, parts),
            other => result(id, &other.to_string(), parts),
        },
        Change::OutputError { id, error, .. } => result(id, error, parts),
        Change::Custom { name, data } => {
            parts.push(&json!({ "type": "CUSTOM", "name": name, "value": data }));
        }
        Change::Usage { model, usage } => used.push(json!({
            "model": model, "inputTokens": usage.prompt_tokens,
            "outputTokens": usage.completion_tokens,
        })),
        Change::ModelsOpen | Change::ModelsClosed => {}
    }
}

fn call_start(id: &str, name: &str, parts: &mut Parts) {
    parts.push_texts(&[("toolCallId", id), ("toolCallName", name), ("type", "TOOL_CALL_START")]);
}

fn call_arguments(id: &str, delta: &str, parts: &mut Parts) {
    parts.push_texts(&[("delta", delta), ("toolCallId", id), ("type", "TOOL_CALL_ARGS")]);
}

/// The rest of a call whose input is complete, or the whole of it if it was not streamed.
fn call(id: &str, name: &str, arguments: &str, streamed: bool, parts: &mut Parts) {
    if !streamed {
        call_start(id, name, parts);
        if !arguments.is_empty() {
            call_arguments(id, arguments, parts);
        }
    }
    call_end(id, parts);
}

fn call_end(id: &str, parts: &mut Parts) {
    parts.push_texts(&[("toolCallId", id), ("type", "TOOL_CALL_END")]);
}

fn result(id: &str, content: &str, parts: &mut Parts) {
    parts.push_texts(&[
        ("content", content),
        ("messageId", &format!("result-{id}")),
        ("role", "tool"),
        ("toolCallId", id),
        ("type", "TOOL_CALL_RESULT"),
    ]);
}
