//! The items of a response's output, of which pieces may have come.

use std::mem;

use serde_json::{Map, Value, json};

use super::reader::Reader;
use crate::wire::MOST_CALLS;

/// What has come of an output item.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) text: bool,
    pub(super) refusal: bool,
    pub(super) reasoning: bool,
    pub(super) call: bool,
    pub(super) arguments: bool,
    pub(super) annotations: usize,
    pub(super) done: bool,
}

impl Reader {
    /// Adds reasoning. Each part is a paragraph.
    pub(super) fn reason(
        &mut self,
        delta: &mut Map<String, Value>,
        part: (u64, u64, bool),
        text: &str,
    ) {
        if text.is_empty() {
            return;
        }
        let before = self.reasoned.replace(part);
        let parted = before.is_some_and(|before| before != part);
        if parted {
            push_text(delta, "reasoning_content", "\n\n");
        }
        push_text(delta, "reasoning_content", text);
    }

    /// Adds a piece of the arguments of a call.
    pub(super) fn arguments(&mut self, delta: &mut Map<String, Value>, index: u64, piece: Value) {
        if are_any(&piece) {
            self.seen(index).arguments = true;
            push_to(delta, "tool_calls", json!({"index": index, "function": {"arguments": piece}}));
        }
    }

    /// Adds a function call, or what has not come of it.
    pub(super) fn call(&mut self, delta: &mut Map<String, Value>, index: u64, item: &Value) {
        self.calls = true;
        let seen = self.seen(index);
        let begins = !mem::replace(&mut seen.call, true);
        let arguments = Some(&item["arguments"]).filter(|all| !seen.arguments && are_any(all));
        seen.arguments |= arguments.is_some();
        if !begins && arguments.is_none() {
            return;
        }
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if begins {
            let id = [&item["call_id"], &item["id"]].into_iter().find(|id| id.is_string());
            call["id"] = id.cloned().unwrap_or_default();
            call["function"]["name"] = item["name"].clone();
        }
        push_to(delta, "tool_calls", call);
    }

    /// Adds what has not come of an item that is complete.
    pub(super) fn item(&mut self, delta: &mut Map<String, Value>, index: u64, item: Value) {
        if !item.is_object() {
            return;
        }
        if mem::replace(&mut self.seen(index).done, true) && index < MOST_CALLS as u64 - 1 {
            return;
        }
        match item["type"].as_str().unwrap_or_default() {
            "message" => self.message(delta, index, &item),
            "function_call" => self.call(delta, index, &item),
            "reasoning" => {
                if !mem::replace(&mut self.seen(index).reasoning, true) {
                    for (list, summary) in [("summary", true), ("content", false)] {
                        let parts = item[list].as_array().into_iter().flatten();
                        for (at, part) in (0..).zip(parts) {
                            let text = text(part.get("text"));
                            self.reason(delta, (index, at, summary), &text);
                        }
                    }
                }
                push_to(delta, "reasoning_items", item);
            }
            _ => push_to(delta, "output_items", item),
        }
    }

    fn message(&mut self, delta: &mut Map<String, Value>, index: u64, item: &Value) {
        let seen = self.seen(index);
        let (has_text, has_refusal) = (seen.text, seen.refusal);
        (seen.text, seen.refusal) = (true, true);
        let mut known = mem::take(&mut seen.annotations);
        let parts = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        for part in parts {
            if !has_text {
                push_text(delta, "content", part["text"].as_str().unwrap_or_default());
            }
            if !has_refusal {
                push_text(delta, "refusal", part["refusal"].as_str().unwrap_or_default());
            }
        }
        for part in parts {
            for annotation in part["annotations"].as_array().into_iter().flatten() {
                match known.checked_sub(1) {
                    Some(less) => known = less,
                    None => push_to(delta, "annotations", annotation.clone()),
                }
            }
        }
    }
}

/// Arguments are JSON as text. Some servers send the object itself.
fn are_any(arguments: &Value) -> bool {
    arguments.is_object() || arguments.as_str().is_some_and(|text| !text.is_empty())
}

pub(super) fn text(value: Option<&Value>) -> String {
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Adds to a text in place, because a message may have very many parts.
fn push_text(delta: &mut Map<String, Value>, name: &str, more: &str) {
    match delta.get_mut(name) {
        Some(Value::String(text)) => text.push_str(more),
        _ if more.is_empty() => {}
        _ => drop(delta.insert(name.to_owned(), more.into())),
    }
}

pub(super) fn push_to(delta: &mut Map<String, Value>, name: &str, value: Value) {
    if let Value::Array(list) = delta.entry(name).or_insert_with(|| json!([])) {
        list.push(value);
    }
}
