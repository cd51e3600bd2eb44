//! The log that the handlers of a program write.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rappel_core::{Document, Event, LlmResult, Map, Message, RunId, RunInfo, Value, json};
use serde::Serialize;

use super::vocabulary::role;

/// The outcome and the log of one step.
#[derive(Debug, Serialize)]
pub struct StepLog {
    /// `ok`, or `error: ` and the message of the failure that the emitter got.
    pub outcome: String,
    /// The handlers' entries, by handler in the order of registration, then by run in the order of
    /// making.
    pub saw: Vec<Entry>,
}

/// One event, as one handler saw it.
#[derive(Debug, Serialize)]
pub struct Entry {
    handler: String,
    event: &'static str,
    run: Value,
    parent: Value,
    tags: Vec<String>,
    #[serde(flatten)]
    payload: Value,
    /// Only in starts and custom events.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Map<String, Value>>,
}

/// The log that the handlers write.
pub(super) struct Log {
    aliases: HashMap<RunId, String>,
    written: Mutex<Vec<(Key, Entry)>>,
}

/// What entries are sorted by: the handler's place, then the run's id.
type Key = (usize, RunId);

impl Log {
    pub(super) fn new(aliases: HashMap<RunId, String>) -> Self {
        let written = Mutex::default();
        Self { aliases, written }
    }

    pub(super) fn write(&self, place: usize, handler: &str, event: &Event, run: &RunInfo) {
        let tells_metadata = event.kind().is_start() || matches!(event, Event::CustomEvent(_));
        let entry = Entry {
            handler: handler.to_owned(),
            event: event.kind().method(),
            run: self.alias(Some(run.id())),
            parent: self.alias(run.parent_id()),
            tags: run.tags().to_vec(),
            payload: payload(event),
            metadata: tells_metadata.then(|| run.metadata().clone()),
        };
        let key = (place, run.id());
        self.written.lock().unwrap_or_else(PoisonError::into_inner).push((key, entry));
    }

    /// The entries since the last call, sorted.
    pub(super) fn take(&self) -> Vec<Entry> {
        let mut written =
            std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        written.sort_by_key(|(key, _)| *key);
        written.into_iter().map(|(_, entry)| entry).collect()
    }

    fn alias(&self, id: Option<RunId>) -> Value {
        id.and_then(|id| self.aliases.get(&id)).map_or(Value::Null, |alias| json!(alias))
    }
}

/// An event's own fields, named as in its step, except that a token's text is named `token`.
fn payload(event: &Event) -> Value {
    match event {
        Event::LlmStart(start) => json!({ "prompts": [start.prompt] }),
        Event::ChatModelStart(start) => json!({ "messages": [messages(&start.messages)] }),
        Event::LlmNewToken(token) => json!({ "token": token.token.as_str() }),
        Event::LlmEnd(end) => {
            json!({ "texts": [texts(&end.result)], "llm_output": end.result.llm_output })
        }
        Event::LlmError(error) => json!({ "error": error.error.to_string() }),
        Event::ChainStart(start) => json!({ "inputs": start.inputs }),
        Event::ChainEnd(end) => json!({ "outputs": end.outputs }),
        Event::ChainError(error) => json!({ "error": error.error.to_string() }),
        Event::ToolStart(start) => json!({ "input": start.input }),
        Event::ToolEnd(end) => json!({ "output": end.output }),
        Event::ToolError(error) => json!({ "error": error.error.to_string() }),
        Event::RetrieverStart(start) => json!({ "query": start.query }),
        Event::RetrieverEnd(end) => json!({ "documents": documents(&end.documents) }),
        Event::RetrieverError(error) => json!({ "error": error.error.to_string() }),
        Event::AgentAction(action) => {
            json!({ "tool": action.tool, "tool_input": action.tool_input, "log": action.log })
        }
        Event::AgentFinish(finish) => {
            json!({ "return_values": finish.return_values, "log": finish.log })
        }
        Event::Text(text) => json!({ "text": text.text }),
        Event::CustomEvent(event) => json!({ "name": &*event.name, "data": event.data }),
        // No step emits another kind.
        _ => json!({}),
    }
}

fn messages(messages: &[Message]) -> Vec<Value> {
    let message =
        |message: &Message| json!({ "role": role(message.role), "content": message.text() });
    messages.iter().map(message).collect()
}

fn texts(result: &LlmResult) -> Vec<&str> {
    result.generations.iter().map(|generation| generation.text.as_str()).collect()
}

fn documents(documents: &[Document]) -> Vec<Value> {
    let document = |document: &Document| {
        let mut fields =
            json!({ "page_content": document.page_content, "metadata": document.metadata });
        if let Some(id) = &document.id {
            fields["id"] = json!(id);
        }
        fields
    };
    documents.iter().map(document).collect()
}
