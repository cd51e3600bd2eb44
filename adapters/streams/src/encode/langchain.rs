//! LangChain's event stream, version 2: what `astream_events` yields.

use std::collections::BTreeMap;
use std::fmt;

use rappel_core::record::{About, EventRecord};
use rappel_core::{Event, LlmResult, Message, Role, RunId, RunKind, Value};
use serde::Serialize;
use serde_json::{Map, json};

use super::parts::Texts;
use super::{Encoder, Parts};
use crate::buffer::Lagged;
use crate::filter::type_name;

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
/// gets an error event of each open run. A run that was cancelled, or that another process continues,
/// has an error event, too: the protocol has no other end for it. Its `error` is `cancelled` or
/// `handed over to another process`.
#[derive(Debug, Default)]
pub struct LangChain {
    /// The open runs.
    open: BTreeMap<RunId, Box<Open>>,
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
    fn start(&mut self, record: &EventRecord, event: &Event, parts: &mut Parts) {
        let Some((at_start, input)) = inputs(event) else { return };
        let tool_call_id = match event {
            Event::ToolStart(start) => start.tool_call_id.clone(),
            _ => None,
        };
        self.starts += 1;
        let about = record.about.clone().unwrap_or_default();
        let open = Open { number: self.starts, kind: record.run_kind, about, input, tool_call_id };
        open.write(record.run, "start", &json!({ "input": at_start }), parts);
        self.open.insert(record.run, Box::new(open));
    }

    fn close(&mut self, why: &str, parts: &mut Parts) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let mut open: Vec<(RunId, Box<Open>)> =
            std::mem::take(&mut self.open).into_iter().collect();
        open.sort_by_key(|(_, open)| std::cmp::Reverse(open.number));
        for (run, open) in open {
            open.error(run, why, parts);
        }
    }

    fn event(&mut self, record: &EventRecord, event: &Event, parts: &mut Parts) {
        match event {
            event if event.kind().is_start() => self.start(record, event, parts),
            Event::CustomEvent(custom) => {
                if let Some(about) = &record.about {
                    let (event, name) = (format_args!("on_custom_event"), &custom.name);
                    parts.write(&Part::new(event, name, record.run, about, &custom.data));
                }
            }
            Event::LlmNewToken(token) => {
                let Some(open) = self.open.get(&record.run) else { return };
                let text = &*token.token;
                let chunk: &[_] = match open.kind {
                    RunKind::ChatModel => &[("content", text), ("role", "ai")],
                    _ => &[("text", text)],
                };
                open.write(record.run, "stream", &Chunk { chunk: Texts(chunk) }, parts);
            }
            event if event.kind().is_end() => {
                let Some(open) = self.open.remove(&record.run) else { return };
                if let Some(error) = event.error() {
                    return open.error(record.run, &error.to_string(), parts);
                }
                let data = json!({ "output": output(event, open.kind), "input": open.input });
                open.write(record.run, "end", &data, parts);
            }
            _ => {}
        }
    }
}

impl Open {
    fn error(&self, run: RunId, error: &str, parts: &mut Parts) {
        let mut data = json!({ "error": error, "input": self.input });
        if self.kind == RunKind::Tool {
            data["tool_call_id"] = json!(self.tool_call_id);
        }
        self.write(run, "error", &data, parts);
    }

    fn write(&self, run: RunId, what: &str, data: &impl Serialize, parts: &mut Parts) {
        let (kind, about) = (type_name(self.kind), &self.about);
        let event = format_args!("on_{kind}_{what}");
        parts.write(&Part::new(event, &about.name, run, about, data));
    }
}

/// An event. Its fields are in the order of the keys, as in a [`Value`].
#[derive(Serialize)]
struct Part<'a, D> {
    data: &'a D,
    event: fmt::Arguments<'a>,
    metadata: &'a Map<String, Value>,
    name: &'a str,
    parent_ids: &'a [RunId],
    run_id: RunId,
    tags: &'a [String],
}

impl<'a, D> Part<'a, D> {
    fn new(
        event: fmt::Arguments<'a>,
        name: &'a str,
        run_id: RunId,
        about: &'a About,
        data: &'a D,
    ) -> Self {
        let About { metadata, parents: parent_ids, tags, .. } = about;
        Self { data, event, metadata, name, parent_ids, run_id, tags }
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    chunk: Texts<'a>,
}

impl Encoder for LangChain {
    fn encode(&mut self, record: &EventRecord, parts: &mut Parts) {
        if let (false, Some(event)) = (self.is_over, &record.event) {
            self.event(record, event, parts);
        }
    }

    fn lagged(&mut self, lagged: Lagged, parts: &mut Parts) {
        self.close(&lagged.to_string(), parts);
    }

    fn finish(&mut self, parts: &mut Parts) {
        self.close("the stream ended before the run did", parts);
    }
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
