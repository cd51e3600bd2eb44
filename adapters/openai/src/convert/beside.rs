//! The fields of an answer that this crate does not know.
//!
//! In a result, texts and lists of a key are joined, and other values are replaced. That is right
//! for the ids of tokens. It is wrong for a label, which many servers repeat with every chunk.

use std::mem;

use rappel_core::{Map, Value};

/// Parts of the names of texts that come in pieces.
const TEXTS: [&str; 8] =
    ["content", "text", "thinking", "thought", "reasoning", "summary", "transcript", "delta"];

/// Endings of the names of labels that contain such a part.
const LABELS: [&str; 8] =
    ["_type", "_id", "_format", "_role", "_signature", "_status", "_name", "_reason"];

/// The unknown fields of one choice.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The last value of each field that is not joined.
    known: Map<String, Value>,
    /// Lists in an object, of which a result would only keep the last chunk's.
    lists: Map<String, Value>,
}

impl Beside {
    /// The fields that change the result: pieces of texts and lists, and values that are new.
    pub(super) fn news(&mut self, said: Map<String, Value>) -> Map<String, Value> {
        let mut news = Map::new();
        for (name, value) in said {
            let is_piece = match &value {
                Value::Array(_) => true,
                Value::String(_) => is_text(&name),
                _ => false,
            };
            if is_piece || self.is_new(&name, &value) {
                news.insert(name, value);
            }
        }
        news
    }

    fn is_new(&mut self, name: &str, value: &Value) -> bool {
        match self.known.get_mut(name) {
            Some(known) if known == value => false,
            // The result would join the two texts. The first one stays.
            Some(Value::String(known)) if value.is_string() && !known.is_empty() => false,
            Some(known) => {
                known.clone_from(value);
                true
            }
            None => {
                self.known.insert(name.to_owned(), value.clone());
                true
            }
        }
    }

    /// Keeps an object of lists until [`take_lists`](Self::take_lists). The lists of a key are
    /// joined.
    pub(super) fn push_lists(&mut self, name: &str, value: Value) {
        join(self.lists.entry(name).or_insert(Value::Null), value);
    }

    /// The objects of lists, once.
    pub(super) fn take_lists(&mut self) -> Map<String, Value> {
        mem::take(&mut self.lists)
    }
}

fn join(known: &mut Value, value: Value) {
    match (known, value) {
        (Value::Array(list), Value::Array(more)) => list.extend(more),
        (Value::Object(fields), Value::Object(more)) => {
            for (name, value) in more {
                join(fields.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (known, value) => *known = value,
    }
}

fn is_text(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    TEXTS.iter().any(|part| name.contains(part)) && !LABELS.iter().any(|end| name.ends_with(end))
}

/// The fields of the answer as a whole that are new or have changed. Servers repeat `id` and
/// `system_fingerprint` with every chunk. A last chunk may have them empty, or zero: what was there
/// before stays.
pub(super) fn news(known: &mut Map<String, Value>, said: Map<String, Value>) -> Map<String, Value> {
    let mut news = Map::new();
    for (name, value) in said {
        match known.get_mut(&name) {
            Some(before) if *before == value || (is_empty(&value) && !is_empty(before)) => {}
            Some(before) => {
                before.clone_from(&value);
                news.insert(name, value);
            }
            None => {
                known.insert(name.clone(), value.clone());
                news.insert(name, value);
            }
        }
    }
    news
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rappel_core::{LlmChunk, LlmResult, json};

    use super::*;

    fn together(chunks: Value) -> Value {
        let (mut beside, mut result) = (Beside::default(), LlmResult::new());
        for chunk in chunks.as_array().unwrap() {
            let mut piece = LlmChunk::new("x");
            piece.extra = beside.news(chunk.as_object().unwrap().clone());
            result.push_chunk(&piece);
        }
        Value::Object(mem::take(&mut result.generations[0].extra))
    }

    #[test]
    fn lists_are_joined_with_their_repeats() {
        assert_eq!(
            together(json!([{"token_ids": [5]}, {"token_ids": [5]}, {"token_ids": [7, 7]}])),
            json!({"token_ids": [5, 5, 7, 7]})
        );
    }

    #[test]
    fn texts_are_joined_with_their_repeats_and_labels_are_not() {
        assert_eq!(
            together(json!([
                {"thinking": "ha", "sender_type": "BOT", "content_type": "md", "seed": 1},
                {"thinking": "ha", "sender_type": "BOT", "content_type": "md", "seed": 1},
                {"thinking": "!", "sender_type": "BOT", "content_type": "md", "seed": 2},
            ])),
            json!({"thinking": "haha!", "sender_type": "BOT", "content_type": "md", "seed": 2})
        );
        assert_eq!(together(json!([{"label": "a"}, {"label": "b"}])), json!({"label": "a"}));
        assert_eq!(together(json!([{"label": ""}, {"label": "b"}])), json!({"label": "b"}));
    }

    #[test]
    fn lists_in_objects_are_kept_until_they_are_taken() {
        let mut beside = Beside::default();
        beside.push_lists("logprobs", json!({"tokens": ["a"], "top": null, "kind": "x"}));
        beside.push_lists("logprobs", json!({"tokens": ["a"], "top": [1], "kind": "x"}));
        let lists = Value::Object(beside.take_lists());
        assert_eq!(lists, json!({"logprobs": {"tokens": ["a", "a"], "top": [1], "kind": "x"}}));
        assert!(beside.take_lists().is_empty());
    }

    #[test]
    fn an_empty_id_and_a_zero_time_change_nothing() {
        let mut known = Map::new();
        let mut say =
            |said: Value| Value::Object(news(&mut known, said.as_object().unwrap().clone()));
        assert_eq!(say(json!({"id": "", "created": 0})), json!({"id": "", "created": 0}));
        assert_eq!(say(json!({"id": "c", "created": 7})), json!({"id": "c", "created": 7}));
        assert_eq!(say(json!({"id": "", "created": 0})), json!({}));
        assert_eq!(say(json!({"id": "d", "created": 7})), json!({"id": "d"}));
    }
}
