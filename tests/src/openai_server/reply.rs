//! An answer as a script makes it: reasoning, text and tool calls.

use serde_json::{Map, Value, json};

/// An answer. It is streamed in this order: its reasoning, its text, its tool calls.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    pub(super) reasoning: Vec<String>,
    pub(super) tokens: Vec<String>,
    pub(super) calls: Vec<Call>,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Reply {
    /// An answer with that text. Each word is a token.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::of_tokens(words(text))
    }

    pub(super) fn of_tokens(tokens: Vec<String>) -> Self {
        Self { tokens, ..Self::default() }
    }

    /// Adds reasoning. Each word is a token.
    #[must_use]
    pub fn reasoning(mut self, text: &str) -> Self {
        self.reasoning.extend(words(text));
        self
    }

    /// Adds a tool call.
    #[must_use]
    pub fn call(mut self, id: impl Into<String>, name: impl Into<String>, input: &Value) -> Self {
        self.calls.push(Call { id: id.into(), name: name.into(), arguments: input.to_string() });
        self
    }

    /// The message of a whole answer.
    pub(super) fn message(&self) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), self.tokens.concat().into());
        if !self.reasoning.is_empty() {
            message.insert("reasoning_content".into(), self.reasoning.concat().into());
        }
        if !self.calls.is_empty() {
            let call = |call: &Call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            };
            message.insert("tool_calls".into(), self.calls.iter().map(call).collect());
        }
        message.into()
    }

    /// The pieces of a streamed answer. A tool call has two: its name, and its arguments.
    pub(super) fn deltas(&self) -> Vec<Value> {
        let reasoning = self.reasoning.iter().map(|token| json!({"reasoning_content": token}));
        let text = self.tokens.iter().map(|token| json!({"content": token}));
        let calls = self.calls.iter().enumerate().flat_map(|(index, call)| {
            let name = json!({"name": call.name, "arguments": ""});
            let arguments = json!({"arguments": call.arguments});
            [
                json!({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": name}]}),
                json!({"tool_calls": [{"index": index, "function": arguments}]}),
            ]
        });
        reasoning.chain(text).chain(calls).collect()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_inclusive(' ').map(str::to_owned).collect()
}
