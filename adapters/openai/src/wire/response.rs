//! Responses.

use core::mem;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::lenient::{self, Said};
use super::surrogates;
use crate::error::JsonFault;

/// The maximum number of choices. It is also the maximum of OpenAI's `n`.
pub(crate) const MOST_CHOICES: usize = 128;
/// The maximum number of tool calls of a choice.
pub(crate) const MOST_CALLS: usize = 1024;

/// A piece of a streamed answer, or a whole answer.
///
/// They differ only in [`Choice::delta`] and [`Choice::message`], and some servers confuse the two.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    #[serde(deserialize_with = "lenient::words")]
    object: Option<String>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) model: Option<String>,
    /// Empty in the chunk that has the usage of a stream.
    #[serde(deserialize_with = "lenient::objects::<_, _, MOST_CHOICES>")]
    pub(crate) choices: Vec<Choice>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) usage: Option<Usage>,
    error: Value,
    /// Random characters that hide the length of an event.
    obfuscation: IgnoredAny,
    /// `id`, `created`, `system_fingerprint`, `service_tier`, and fields of the server's own.
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Chunk {
    /// Reads any JSON object.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, JsonFault> {
        // Some servers send a byte order mark first.
        let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
        Self::read(json).or_else(|fault| match surrogates::mend(json) {
            Some(mended) => Self::read(&mended),
            None => Err(fault),
        })
    }

    fn read(json: &[u8]) -> Result<Self, JsonFault> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let chunk = lenient::object(&mut json)?;
        json.end()?;
        chunk.ok_or(JsonFault::NotAnObject)
    }

    /// Returns `true` if it is an error in place of a chunk or of a choice.
    pub(crate) fn is_error(&self) -> bool {
        self.object.as_deref() == Some("error")
            || is_error(&self.error)
            || self.choices.iter().any(|choice| is_error(&choice.error))
    }
}

fn is_error(error: &Value) -> bool {
    match error {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// One of the `n` answers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// Some servers leave it out. Then it is the position in the list.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) index: Option<u32>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) delta: Option<Delta>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) message: Option<Delta>,
    /// Any text, such as `stop`, `length`, `tool_calls` or `eos`. Never empty.
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) finish_reason: Option<String>,
    pub(crate) logprobs: Value,
    error: Value,
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Choice {
    /// The delta, or the message if there is no delta.
    pub(crate) fn into_content(self) -> Delta {
        self.delta.or(self.message).unwrap_or_default()
    }
}

/// A message, or the addition of a chunk to it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    role: IgnoredAny,
    #[serde(deserialize_with = "lenient::content")]
    pub(crate) content: Said,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) refusal: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    reasoning_content: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    reasoning: Option<String>,
    #[serde(deserialize_with = "lenient::objects::<_, _, MOST_CALLS>")]
    tool_calls: Vec<ToolCallDelta>,
    /// The deprecated form of a tool call.
    #[serde(deserialize_with = "lenient::object")]
    function_call: Option<FunctionDelta>,
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Delta {
    /// The reasoning: `reasoning_content` or `reasoning`, depending on the server, or a part of the
    /// content. Servers that send both repeat the same text.
    pub(crate) fn reasoning(&self) -> &str {
        let fields = [self.reasoning_content.as_deref(), self.reasoning.as_deref()];
        let said = fields.into_iter().flatten().find(|text| !text.is_empty());
        said.unwrap_or(&self.content.thought)
    }

    /// Numbers the tool calls. In a whole answer each item is a call, whatever its index and id
    /// are.
    pub(crate) fn count_calls(&mut self) {
        for (index, call) in (0..).zip(&mut self.tool_calls) {
            call.index = Some(index);
        }
    }

    /// The tool calls. A deprecated function call counts as one if there are no others.
    pub(crate) fn take_calls(&mut self) -> Vec<ToolCallDelta> {
        let mut calls = mem::take(&mut self.tool_calls);
        if calls.is_empty() {
            let function = self.function_call.take();
            let function =
                function.filter(|function| function.name.is_some() || function.arguments.is_some());
            calls.extend(function.map(|function| ToolCallDelta {
                function: Some(function),
                ..ToolCallDelta::default()
            }));
        }
        calls
    }
}

/// A tool call, or the addition of a chunk to it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCallDelta {
    /// The call that a delta belongs to. Whole calls have none.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) index: Option<u32>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) id: Option<String>,
    #[serde(rename = "type")]
    kind: IgnoredAny,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) function: Option<FunctionDelta>,
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

/// The function to call, or the addition of a chunk to its name and arguments.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionDelta {
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) name: Option<String>,
    /// JSON as text. In a stream, a piece of it.
    #[serde(deserialize_with = "lenient::arguments")]
    pub(crate) arguments: Option<String>,
}

/// The number of tokens used. Any number may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) completion_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) total_tokens: Option<u64>,
    /// The details of both, and counts of the server's own.
    #[serde(flatten, deserialize_with = "lenient::rest")]
    pub(crate) rest: Map<String, Value>,
}

impl Usage {
    /// Returns `true` if it has any number.
    pub(crate) fn counts(&self) -> bool {
        self.prompt_tokens.or(self.completion_tokens).or(self.total_tokens).is_some()
    }

    /// The number of prompt tokens from the server's cache.
    pub(crate) fn cached_tokens(&self) -> Option<u64> {
        self.detail("prompt_tokens_details", "cached_tokens")
    }

    /// The number of completion tokens that are reasoning.
    pub(crate) fn reasoning_tokens(&self) -> Option<u64> {
        self.detail("completion_tokens_details", "reasoning_tokens")
    }

    fn detail(&self, of: &str, name: &str) -> Option<u64> {
        lenient::number(self.rest.get(of)?.get(name)?).ok()?
    }
}

#[cfg(test)]
mod tests;
