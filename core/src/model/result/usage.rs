//! Why a generation ended, and what it used.

use alloc::string::String;
use core::fmt;

use serde_json::{Map, Value};

use crate::util::{conversions, setters};

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "String", into = "String")
)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model finished, or wrote a stop sequence.
    Stop,
    /// The model reached the token limit.
    Length,
    /// The model asks for tool calls.
    ToolCalls,
    /// The provider's content filter stopped the model.
    ContentFilter,
    /// Another reason, in the provider's words.
    Other(String),
}

impl FinishReason {
    /// Returns the reason as OpenAI writes it, or in the provider's words.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other(reason) => reason,
        }
    }
}

impl From<&str> for FinishReason {
    fn from(reason: &str) -> Self {
        match reason {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "tool_calls" => Self::ToolCalls,
            "content_filter" => Self::ContentFilter,
            other => Self::Other(other.into()),
        }
    }
}

conversions! {
    impl From<String> for FinishReason = |reason: String| reason.as_str().into();
    impl From<FinishReason> for String = |reason: FinishReason| reason.as_str().into();
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The tokens that a run used, as the provider counts them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens that the model wrote, including its reasoning.
    pub completion_tokens: u64,
    /// The sum of both.
    pub total_tokens: u64,
    /// Tokens of the prompt that came from the provider's cache, if the provider sends that.
    pub cached_tokens: Option<u64>,
    /// Tokens of the prompt that were written to the provider's cache, if the provider sends that.
    pub cache_write_tokens: Option<u64>,
    /// Tokens of the completion that the model spent on reasoning, if the provider sends that.
    pub reasoning_tokens: Option<u64>,
    /// Other counts of the provider, under its own names: `prompt_tokens_details`, `cost`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Map::is_empty"))]
    pub extra: Map<String, Value>,
}

impl TokenUsage {
    /// Makes a usage. The total is the sum of both.
    #[must_use]
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            ..Self::default()
        }
    }

    setters! {
        /// Sets the tokens of the prompt that came from the provider's cache.
        with_cached_tokens(tokens: u64) { self.cached_tokens = Some(tokens) }
        /// Sets the tokens of the prompt that were written to the provider's cache.
        with_cache_write_tokens(tokens: u64) { self.cache_write_tokens = Some(tokens) }
        /// Sets the tokens of the completion that the model spent on reasoning.
        with_reasoning_tokens(tokens: u64) { self.reasoning_tokens = Some(tokens) }
    }
}
