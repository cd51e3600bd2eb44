//! Answers: from the events of Responses to the chunks of chat completions. It does no I/O.

use std::collections::BTreeMap;
use std::mem;

use serde_json::{Map, Value, json};

use super::items::{Seen, push_to, text};
use crate::error::JsonFault;
use crate::wire::{Chunk, MOST_CALLS, read_value};

/// The fields of a response that repeat the request, or that a chunk has elsewhere. A tool may
/// contain a third party's key.
const NOT_KEPT: [&str; 23] = [
    "object",
    "output",
    "output_text",
    "usage",
    "model",
    "error",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "temperature",
    "top_p",
    "top_logprobs",
    "max_output_tokens",
    "max_tool_calls",
    "parallel_tool_calls",
    "truncation",
    "user",
    "metadata",
    "prompt",
    "store",
];

/// Events whose content other events have, too.
const SILENT: [&str; 6] = [
    "response.queued",
    "response.in_progress",
    "response.content_part.added",
    "response.content_part.done",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_part.done",
];

/// What an event means.
pub(crate) enum Meaning {
    Chunk(Chunk),
    /// The last chunk. Nothing comes after it.
    Last(Chunk),
    /// The JSON of the server's error.
    Failed(String),
    Nothing,
}

/// The state of an answer between two events.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// What the next chunk tells about the response.
    head: Map<String, Value>,
    items: BTreeMap<u64, Seen>,
    /// The position of each item that has an id.
    ids: BTreeMap<String, u64>,
    pub(super) calls: bool,
    first: Option<u64>,
    last: Option<u64>,
    gaps: u64,
    repeats: u64,
    /// Reasoning has come: a further part of it begins a paragraph.
    pub(super) reasoned: Option<(u64, u64, bool)>,
}

impl Reader {
    /// Reads an event, or a whole response.
    pub(crate) fn take(&mut self, json: &[u8]) -> Result<Meaning, JsonFault> {
        let Value::Object(mut event) = read_value(json)? else {
            return Err(JsonFault::NotAnObject);
        };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if event.get("object").is_some_and(|object| object == "response") {
            return self.whole(event);
        }
        if !kind.starts_with("response.") {
            // An error, or a gateway that answers in the form of chat completions.
            return Chunk::parse(json).map(Meaning::Chunk);
        }
        let last = ["response.completed", "response.incomplete", "response.failed"];
        let is_last = last.contains(&&*kind);
        if self.is_repeat(event.get("sequence_number").and_then(Value::as_u64)) && !is_last {
            return Ok(Meaning::Nothing);
        }
        let response = event.remove("response").and_then(|response| match response {
            Value::Object(response) => Some(response),
            _ => None,
        });
        if is_last || kind == "response.cancelled" {
            return self.end(response.unwrap_or_default());
        }
        if let Some(response) = response {
            self.note(response);
        }
        if kind == "response.created" || SILENT.contains(&&*kind) {
            return Ok(Meaning::Nothing);
        }
        let (delta, logprobs) = self.delta(&kind, event);
        if delta.is_empty() {
            return Ok(Meaning::Nothing);
        }
        let mut choice = json!({"index": 0, "delta": delta});
        if let Value::Array(list) = logprobs {
            if !list.is_empty() {
                choice["logprobs"] = json!({"content": list});
            }
        }
        self.chunk(choice).map(Meaning::Chunk)
    }

    /// Returns `true` if an event with a later number has come. Servers that number nothing, or all
    /// events alike, repeat nothing.
    fn is_repeat(&mut self, number: Option<u64>) -> bool {
        let Some(number) = number else {
            return false;
        };
        let first = *self.first.get_or_insert(number);
        let Some(last) = self.last else {
            self.last = Some(number);
            return false;
        };
        if number <= last {
            let repeats = last > first;
            self.repeats += u64::from(repeats);
            return repeats;
        }
        self.gaps = self.gaps.saturating_add(number - last - 1);
        self.last = Some(number);
        false
    }

    /// Keeps what an event tells about the response for the next chunk.
    fn note(&mut self, response: Map<String, Value>) {
        for (name, value) in response {
            let is_model = name == "model";
            if !value.is_null() && (is_model || !NOT_KEPT.contains(&&*name)) {
                self.head.insert(name, value);
            }
        }
    }

    fn chunk(&mut self, choice: Value) -> Result<Chunk, JsonFault> {
        let mut chunk = mem::take(&mut self.head);
        chunk.insert("choices".to_owned(), Value::Array(vec![choice]));
        Chunk::from_value(Value::Object(chunk))
    }

    /// What an event adds to the answer, and its log probabilities.
    fn delta(&mut self, kind: &str, mut event: Map<String, Value>) -> (Map<String, Value>, Value) {
        let at = |name: &str| event.get(name).and_then(Value::as_u64).unwrap_or_default();
        let index = at("output_index");
        let mut delta = Map::new();
        let mut logprobs = Value::Null;
        let id = event.get("item_id").or_else(|| event.get("item")?.get("id"));
        if let Some(id) = id.and_then(Value::as_str).filter(|_| self.ids.len() < MOST_CALLS) {
            self.ids.entry(id.to_owned()).or_insert(index);
        }
        let seen = self.seen(index);
        let name = kind.trim_start_matches("response.");
        match name {
            "output_text.delta" => {
                logprobs = event.remove("logprobs").unwrap_or_default();
                seen.text |= move_text(&mut delta, "content", event.remove("delta"));
            }
            "output_text.done" if !seen.text => {
                logprobs = event.remove("logprobs").unwrap_or_default();
                seen.text = move_text(&mut delta, "content", event.remove("text"));
            }
            "output_text.annotation.added" => {
                if let Some(annotation) = event.remove("annotation") {
                    seen.annotations += 1;
                    push_to(&mut delta, "annotations", annotation);
                }
            }
            "refusal.delta" => {
                seen.refusal |= move_text(&mut delta, "refusal", event.remove("delta"));
            }
            "refusal.done" if !seen.refusal => {
                seen.refusal = move_text(&mut delta, "refusal", event.remove("refusal"));
            }
            "reasoning_summary_text.delta" | "reasoning_text.delta" => {
                let summary = name == "reasoning_summary_text.delta";
                let part = at(if summary { "summary_index" } else { "content_index" });
                let text = text(event.get("delta"));
                seen.reasoning |= !text.is_empty();
                self.reason(&mut delta, (index, part, summary), &text);
            }
            "reasoning_summary_text.done" | "reasoning_text.done" if !seen.reasoning => {
                let summary = name == "reasoning_summary_text.done";
                let part = at(if summary { "summary_index" } else { "content_index" });
                let text = text(event.get("text"));
                seen.reasoning = !text.is_empty();
                self.reason(&mut delta, (index, part, summary), &text);
            }
            "function_call_arguments.delta" => {
                let piece = event.remove("delta").unwrap_or_default();
                self.arguments(&mut delta, index, piece);
            }
            "function_call_arguments.done" if !seen.arguments => {
                let all = event.remove("arguments").unwrap_or_default();
                self.arguments(&mut delta, index, all);
            }
            "output_item.added" => {
                if event.get("item").is_some_and(|item| item["type"] == "function_call") {
                    // Its arguments come with the next events.
                    let mut item = event.remove("item").unwrap_or_default();
                    item["arguments"] = Value::Null;
                    self.call(&mut delta, index, &item);
                }
            }
            "output_item.done" => {
                self.item(&mut delta, index, event.remove("item").unwrap_or_default());
            }
            "output_text.done"
            | "refusal.done"
            | "reasoning_summary_text.done"
            | "reasoning_text.done"
            | "function_call_arguments.done" => {}
            _ => {
                event.remove("obfuscation");
                push_to(&mut delta, "response_events", Value::Object(event));
            }
        }
        (delta, logprobs)
    }

    /// The state of an item. Items beyond the limit share one, because the server's data is not
    /// trusted.
    pub(super) fn seen(&mut self, index: u64) -> &mut Seen {
        self.items.entry(index.min(MOST_CALLS as u64 - 1)).or_default()
    }

    /// The last event of a stream.
    fn end(&mut self, response: Map<String, Value>) -> Result<Meaning, JsonFault> {
        self.finish(response, "delta", false)
    }

    /// A response that is no event.
    fn whole(&mut self, response: Map<String, Value>) -> Result<Meaning, JsonFault> {
        self.finish(response, "message", true)
    }

    fn finish(
        &mut self,
        mut response: Map<String, Value>,
        name: &str,
        is_whole: bool,
    ) -> Result<Meaning, JsonFault> {
        let status = text(response.get("status"));
        let error = response.remove("error").filter(|error| !error.is_null());
        if error.is_some() || ["failed", "cancelled"].contains(&&*status) {
            let words = || json!({"message": format!("the response has the status {status:?}")});
            let error = json!({"error": error.unwrap_or_else(words)});
            return Ok(Meaning::Failed(error.to_string()));
        }
        let mut delta = Map::new();
        let mut logprobs = Vec::new();
        if let Some(Value::Array(items)) = response.remove("output") {
            for (position, item) in (0..).zip(items) {
                // Some servers leave items out, so that those after them have other positions.
                let known = item["id"].as_str().and_then(|id| self.ids.get(id));
                let index = known.filter(|_| !is_whole).copied().unwrap_or(position);
                if !self.seen(index).text {
                    let parts = item["content"].as_array().into_iter().flatten();
                    let lists = parts.filter_map(|part| part["logprobs"].as_array());
                    logprobs.extend(lists.flatten().cloned());
                }
                self.item(&mut delta, index, item);
            }
        }
        let reason = match response.get("incomplete_details").map(|why| text(why.get("reason"))) {
            Some(reason) if reason == "max_output_tokens" => "length".to_owned(),
            Some(reason) if !reason.is_empty() => reason,
            _ if status == "incomplete" => "incomplete".to_owned(),
            _ if ["queued", "in_progress"].contains(&&*status) => String::new(),
            _ if self.calls => "tool_calls".to_owned(),
            _ => "stop".to_owned(),
        };
        let usage = response.remove("usage");
        self.note(response);
        for (name, count) in [("sequence_gaps", self.gaps), ("sequence_repeats", self.repeats)] {
            if count > 0 {
                self.head.insert(name.to_owned(), json!(count));
            }
        }
        self.head.insert("usage".to_owned(), usage.unwrap_or_default());
        let mut choice = json!({"index": 0, "finish_reason": reason});
        choice[name] = Value::Object(delta);
        if !logprobs.is_empty() {
            choice["logprobs"] = json!({"content": logprobs});
        }
        let chunk = self.chunk(choice)?;
        Ok(if is_whole { Meaning::Chunk(chunk) } else { Meaning::Last(chunk) })
    }
}

/// Moves a text into the delta. Returns `true` if it is one and is not empty.
fn move_text(delta: &mut Map<String, Value>, name: &str, value: Option<Value>) -> bool {
    let text = value.filter(|value| value.as_str().is_some_and(|text| !text.is_empty()));
    text.map(|text| delta.insert(name.to_owned(), text)).is_some()
}
