//! LangChain's event stream, version 2: what `astream_events` yields.

use std::collections::HashMap;

use rappel_core::record::{About, EventRecord};
use rappel_core::{Event, LlmResult, Message, Role, RunId, RunKind, Value};
use serde_json::json;

use super::Encoder;
use crate::buffer::Lagged;
use crate::filter::type_name;
use crate::tokens::error_of;

/// Encodes LangChain's event stream, version 2.
#[must_use]
pub fn langchain() -> LangChain {
    LangChain::default()
}

/// LangChain's event stream, version 2 of `astream_events`: objects with `event`, `name`, `run_id`,
/// `parent_ids`, `tags`, `metadata` and `data`.
///
/// Runs that fail have an error event: `on_chat_model_error`, `on_chain_error` and so on. LangChain
/// has one for tools only. A message is `{"role": "human" | "ai" | "system" | "tool", "content"}`,
/// with `tool_calls` if it has some. A reader that lagged, or a stream that ends before its runs,
/// gets an error event of each open run.
#[derive(Debug, Default)]
pub struct LangChain {
    /// The open runs.
    open: HashMap<RunId, Open>,
    starts: u64,
    is_over: bool,
}

#[derive(Debug)]
struct Open {
    number: u64,
    kind: RunKind,
    about: About,
    input: Value,
    tool_call_id: Option<String>,
}

impl LangChain {
    fn start(&mut self, record: &EventRecord, event: &Event) -> Option<Value> {
        let (at_start, input) = inputs(event)?;
        let tool_call_id = match event {
            Event::ToolStart(start) => start.tool_call_id.clone(),
            _ => None,
        };
        self.starts += 1;
        let about = record.about.clone().unwrap_or_default();
        let open = Open { number: self.starts, kind: record.run_kind, about, input, tool_call_id };
        let part = part(record.run, open.kind, &open.about, "start", json!({ "input": at_start }));
        self.open.insert(record.run, open);
        Some(part)
    }

    fn close(&mut self, why: &str, parts: &mut Vec<Value>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let mut open: Vec<(RunId, Open)> = self.open.drain().collect();
        open.sort_by_key(|(_, open)| std::cmp::Reverse(open.number));
        parts.extend(open.into_iter().map(|(run, open)| open.error(run, why)));
    }

    fn part(&mut self, record: &EventRecord) -> Option<Value> {
        let event = record.event.as_ref()?;
        if event.kind().is_start() {
            return self.start(record, event);
        }
        if let Event::CustomEvent(custom) = event {
            let about = record.about.as_ref()?;
            return Some(json!({
                "event": "on_custom_event", "name": &*custom.name, "run_id": record.run,
                "parent_ids": about.parents, "tags": about.tags, "metadata": about.metadata,
                "data": custom.data,
            }));
        }
        if let Event::LlmNewToken(token) = event {
            let open = self.open.get(&record.run)?;
            let text = &*token.token;
            let chunk = match open.kind {
                RunKind::ChatModel => json!({ "role": "ai", "content": text }),
                _ => json!({ "text": text }),
            };
            let data = json!({ "chunk": chunk });
            return Some(part(record.run, open.kind, &open.about, "stream", data));
        }
        if !event.kind().is_end() {
            return None;
        }
        let open = self.open.remove(&record.run)?;
        if let Some(error) = error_of(event) {
            return Some(open.error(record.run, &error.to_string()));
        }
        let data = json!({ "output": output(event, open.kind), "input": open.input });
        Some(part(record.run, open.kind, &open.about, "end", data))
    }
}

impl Open {
    fn error(self, run: RunId, error: &str) -> Value {
        let mut data = json!({ "error": error, "input": self.input });
        if self.kind == RunKind::Tool {
            data["tool_call_id"] = json!(self.tool_call_id);
        }
        part(run, self.kind, &self.about, "error", data)
    }
}

impl Encoder for LangChain {
    fn encode(&mut self, record: &EventRecord, parts: &mut Vec<Value>) {
        if !self.is_over {
            parts.extend(self.part(record));
        }
    }

    fn lagged(&mut self, lagged: Lagged, parts: &mut Vec<Value>) {
        self.close(&lagged.to_string(), parts);
    }

    fn finish(&mut self, parts: &mut Vec<Value>) {
        self.close("the stream ended before the run did", parts);
    }
}

fn part(run: RunId, kind: RunKind, about: &About, what: &str, data: Value) -> Value {
    json!({
        "event": format!("on_{}_{what}", type_name(kind)), "name": &*about.name, "run_id": run,
        "parent_ids": about.parents, "tags": about.tags, "metadata": about.metadata, "data": data,
    })
}

/// The input of a run: in its start, and in its end.
fn inputs(event: &Event) -> Option<(Value, Value)> {
    let input = match event {
        Event::LlmStart(start) => json!({ "prompts": [start.prompt] }),
        Event::ChatModelStart(start) => {
            json!({ "messages": [start.messages.iter().map(message).collect::<Vec<_>>()] })
        }
        Event::ChainStart(start) => start.inputs.clone(),
        Event::RetrieverStart(start) => json!({ "query": start.query }),
        Event::ToolStart(start) => {
            let inputs = start.inputs.clone();
            return Some((inputs.clone().unwrap_or_else(|| json!({})), json!(inputs)));
        }
        _ => return None,
    };
    Some((input.clone(), input))
}

fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::Ai => "ai",
        Role::Tool => "tool",
        _ => "human",
    };
    let mut value = json!({ "role": role, "content": message.text() });
    if !message.tool_calls.is_empty() {
        value["tool_calls"] = json!(message.tool_calls);
    }
    if let Some(id) = &message.tool_call_id {
        value["tool_call_id"] = json!(id);
    }
    value
}

fn output(event: &Event, kind: RunKind) -> Value {
    match event {
        Event::LlmEnd(end) => model_output(&end.result, kind),
        Event::ChainEnd(end) => end.outputs.clone(),
        Event::ToolEnd(end) => end.output.clone(),
        Event::RetrieverEnd(end) => {
            let documents = end.documents.iter().map(|document| {
                let mut value = json!({
                    "page_content": document.page_content, "metadata": document.metadata,
                });
                if let Some(id) = &document.id {
                    value["id"] = json!(id);
                }
                value
            });
            documents.collect()
        }
        _ => Value::Null,
    }
}

fn model_output(result: &LlmResult, kind: RunKind) -> Value {
    if kind == RunKind::ChatModel {
        let mut value = json!({ "role": "ai", "content": result.text() });
        let calls = result.generations.first().map(|generation| &generation.tool_calls);
        if let Some(calls) = calls.filter(|calls| !calls.is_empty()) {
            value["tool_calls"] = json!(calls);
        }
        return value;
    }
    let texts: Vec<Value> =
        result.generations.iter().map(|generation| json!({ "text": generation.text })).collect();
    json!({ "generations": [texts], "llm_output": result.llm_output })
}
