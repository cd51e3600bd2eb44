//! What servers send back.

use serde::Deserialize;
use serde_json::Value;

use super::lenient;
use crate::error::JsonFault;

/// A piece of a streamed answer, or a whole one.
///
/// Both have the same shape, but for [`Choice::message`] in the place of
/// [`Choice::delta`]; and there are servers that confuse the two.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) id: Option<String>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) object: Option<String>,
    /// Seconds since 1970.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) created: Option<u64>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) model: Option<String>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) system_fingerprint: Option<String>,
    /// Empty in the chunk that carries the usage of a stream.
    #[serde(deserialize_with = "lenient::objects")]
    pub(crate) choices: Vec<Choice>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) usage: Option<Usage>,
    error: Value,
}

impl Chunk {
    /// Reads any JSON object.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, JsonFault> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let chunk = lenient::object(&mut json)?;
        json.end()?;
        chunk.ok_or(JsonFault::NotAnObject)
    }

    /// Whether it is an error in the place of a chunk.
    pub(crate) fn is_error(&self) -> bool {
        match &self.error {
            Value::Null | Value::Bool(false) => self.object.as_deref() == Some("error"),
            Value::String(text) => !text.is_empty(),
            _ => true,
        }
    }

    /// Whether any of the choices says why it came to its end.
    pub(crate) fn is_last(&self) -> bool {
        self.choices.iter().any(|choice| choice.finish_reason.is_some())
    }
}

/// One of the answers; there is more than one only if `n` asked for more.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// Absent with some servers, which then mean the position in the list.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) index: Option<u32>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) delta: Option<Delta>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) message: Option<Delta>,
    /// Any word: `stop`, `length`, `tool_calls`, but `eos` too. Never empty.
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) finish_reason: Option<String>,
}

impl Choice {
    /// The delta of a stream, or else the message of a whole answer.
    pub(crate) fn content(&self) -> Option<&Delta> {
        self.delta.as_ref().or(self.message.as_ref())
    }
}

/// A message, or what a chunk adds to it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) role: Option<String>,
    /// `None` is no content at all; the first chunk of a stream often has `Some("")`.
    #[serde(deserialize_with = "lenient::content")]
    pub(crate) content: Option<String>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) refusal: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    reasoning_content: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    reasoning: Option<String>,
    #[serde(deserialize_with = "lenient::objects")]
    pub(crate) tool_calls: Vec<ToolCallDelta>,
}

impl Delta {
    /// What the model thought aloud: `reasoning_content` or `reasoning`, as the
    /// server calls it. Those that send both repeat the same text.
    pub(crate) fn reasoning(&self) -> Option<&str> {
        [&self.reasoning_content, &self.reasoning]
            .into_iter()
            .flatten()
            .map(|text| &**text)
            .find(|text| !text.is_empty())
    }
}

/// A call of a tool, or what a chunk adds to it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ToolCallDelta {
    /// Which call a delta belongs to; whole calls have none.
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) index: Option<u32>,
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) id: Option<String>,
    #[serde(deserialize_with = "lenient::object")]
    pub(crate) function: Option<FunctionDelta>,
}

/// The function to be called, or what a chunk adds to its name and arguments.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct FunctionDelta {
    #[serde(deserialize_with = "lenient::words")]
    pub(crate) name: Option<String>,
    /// JSON as text; in a stream, a piece of it.
    #[serde(deserialize_with = "lenient::arguments")]
    pub(crate) arguments: Option<String>,
}

/// What the answer cost, in tokens. Any number may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) completion_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    pub(crate) total_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::object")]
    prompt_tokens_details: Option<TokenDetails>,
    #[serde(deserialize_with = "lenient::object")]
    completion_tokens_details: Option<TokenDetails>,
}

impl Usage {
    /// How many of the prompt's tokens came from the server's cache.
    pub(crate) fn cached_tokens(&self) -> Option<u64> {
        self.prompt_tokens_details.as_ref()?.cached_tokens
    }

    /// How many of the completion's tokens were thought and not said.
    pub(crate) fn reasoning_tokens(&self) -> Option<u64> {
        self.completion_tokens_details.as_ref()?.reasoning_tokens
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct TokenDetails {
    #[serde(deserialize_with = "lenient::number")]
    cached_tokens: Option<u64>,
    #[serde(deserialize_with = "lenient::number")]
    reasoning_tokens: Option<u64>,
}

#[cfg(test)]
mod tests;
