//! Results: what comes out of a model, whole or chunk by chunk.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Value};

use crate::message::ToolCall;
use crate::token::Token;

/// What a model made of one prompt: of a finished run its result, of a broken one what there was.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct LlmResult {
    /// The choices, in the model's order; mostly there is one.
    pub generations: Vec<Generation>,
    /// What was used, if the provider tells.
    pub usage: Option<TokenUsage>,
    /// The model that answered, if the provider tells; it may differ from the one that was asked for.
    pub model_name: Option<String>,
    /// What the provider says beside.
    pub llm_output: Option<Value>,
}

impl LlmResult {
    /// An empty result.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A result with one generation, that text.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self::new().with_generation(Generation::new(text))
    }

    /// Adds a generation.
    #[must_use]
    pub fn with_generation(mut self, generation: Generation) -> Self {
        self.generations.push(generation);
        self
    }

    /// Sets the usage.
    #[must_use]
    pub fn with_usage(mut self, usage: TokenUsage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sets the model's name.
    #[must_use]
    pub fn with_model_name(mut self, name: impl Into<String>) -> Self {
        self.model_name = Some(name.into());
        self
    }

    /// Sets what the provider says beside.
    #[must_use]
    pub fn with_llm_output(mut self, output: Value) -> Self {
        self.llm_output = Some(output);
        self
    }

    /// The text of the first generation; empty without one.
    #[must_use]
    pub fn text(&self) -> &str {
        self.generations.first().map_or("", |generation| &generation.text)
    }

    /// Why the first generation ended, if the provider tells.
    #[must_use]
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.generations.first()?.finish_reason.as_ref()
    }

    /// Adds text to the first generation, which is made if there is none.
    pub fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.generations.first_mut() {
            Some(generation) => generation.text.push_str(text),
            None => self.generations.push(Generation::new(text)),
        }
    }

    /// Takes in the next chunk of a stream: texts are joined, tool calls put together, later usage and names replace earlier ones.
    ///
    /// A choice index beyond 127 is taken as 127, a tool call beyond 1,023 as 1,023: indices come from outside, and must not make memory grow.
    pub fn push_chunk(&mut self, chunk: &LlmChunk) {
        const MOST_CHOICES: usize = 128;
        if let Some(usage) = &chunk.usage {
            self.usage = Some(usage.clone());
        }
        if let Some(name) = &chunk.model_name {
            self.model_name = Some(name.clone());
        }
        if chunk.is_bare() {
            return;
        }
        let index = (chunk.index as usize).min(MOST_CHOICES - 1);
        if self.generations.len() <= index {
            self.generations.resize_with(index + 1, Generation::default);
        }
        self.generations[index].push_chunk(chunk);
    }
}

/// One answer of a model.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Generation {
    /// The text; empty where the model only calls tools.
    pub text: String,
    /// Why the generation ended, if the provider tells.
    pub finish_reason: Option<FinishReason>,
    /// The tools that the model asks for.
    pub tool_calls: Vec<ToolCall>,
    /// What the provider says beside.
    pub extra: Map<String, Value>,
}

impl Generation {
    /// A generation of that text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Sets why the generation ended.
    #[must_use]
    pub fn with_finish_reason(mut self, reason: impl Into<FinishReason>) -> Self {
        self.finish_reason = Some(reason.into());
        self
    }

    /// Adds tool calls.
    #[must_use]
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        self.tool_calls.extend(calls);
        self
    }

    fn push_chunk(&mut self, chunk: &LlmChunk) {
        self.text.push_str(&chunk.text);
        if let Some(reason) = &chunk.finish_reason {
            self.finish_reason = Some(reason.clone());
        }
        for call in &chunk.tool_calls {
            self.push_tool_call(call);
        }
        for (key, value) in &chunk.extra {
            match (self.extra.get_mut(key), value) {
                (Some(Value::String(known)), Value::String(more)) => known.push_str(more),
                _ => {
                    self.extra.insert(key.clone(), value.clone());
                }
            }
        }
    }

    fn push_tool_call(&mut self, chunk: &ToolCallChunk) {
        const MOST_CALLS: usize = 1024;
        let index = (chunk.index as usize).min(MOST_CALLS - 1);
        if self.tool_calls.len() <= index {
            self.tool_calls.resize_with(index + 1, || ToolCall::new("", ""));
        }
        let call = &mut self.tool_calls[index];
        if let Some(id) = &chunk.id {
            call.id = Some(id.clone());
        }
        if let Some(name) = &chunk.name {
            call.name.push_str(name);
        }
        call.arguments.push_str(&chunk.arguments);
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "String", into = "String")
)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model was done, or met a stop sequence.
    Stop,
    /// The limit of tokens was reached.
    Length,
    /// The model asks for tools.
    ToolCalls,
    /// The provider's filter cut in.
    ContentFilter,
    /// Anything else, in the provider's words.
    Other(String),
}

impl FinishReason {
    /// The reason as OpenAI writes it, or in the provider's words.
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

impl From<String> for FinishReason {
    fn from(reason: String) -> Self {
        reason.as_str().into()
    }
}

impl From<FinishReason> for String {
    fn from(reason: FinishReason) -> Self {
        reason.as_str().into()
    }
}

impl fmt::Display for FinishReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many tokens a run used, as the provider counts them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens that the model wrote, its reasoning included.
    pub completion_tokens: u64,
    /// Both together.
    pub total_tokens: u64,
    /// Tokens of the prompt that came from the provider's cache, if it tells.
    pub cached_tokens: Option<u64>,
    /// Tokens of the completion that were spent on reasoning, if the provider tells.
    pub reasoning_tokens: Option<u64>,
}

impl TokenUsage {
    /// A usage of so many tokens; the total is their sum.
    #[must_use]
    pub const fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            cached_tokens: None,
            reasoning_tokens: None,
        }
    }
}

/// A piece of a streamed result.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct LlmChunk {
    /// Which choice this belongs to, from 0.
    pub index: u32,
    /// The text; it may be empty.
    pub text: Token,
    /// Pieces of tool calls.
    pub tool_calls: Vec<ToolCallChunk>,
    /// Why the choice ended; on its last chunk.
    pub finish_reason: Option<FinishReason>,
    /// What was used; on the stream's last chunk, if at all.
    pub usage: Option<TokenUsage>,
    /// The model that answers.
    pub model_name: Option<String>,
    /// What the provider says beside: in the result, texts of a key are joined, and of other values the last one stays, as with LangChain.
    pub extra: Map<String, Value>,
}

impl LlmChunk {
    /// A chunk of text.
    pub fn new(text: impl Into<Token>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Sets which choice this belongs to.
    #[must_use]
    pub fn with_index(mut self, index: u32) -> Self {
        self.index = index;
        self
    }

    /// Adds pieces of tool calls.
    #[must_use]
    pub fn with_tool_calls(mut self, calls: impl IntoIterator<Item = ToolCallChunk>) -> Self {
        self.tool_calls.extend(calls);
        self
    }

    /// Sets why the choice ended.
    #[must_use]
    pub fn with_finish_reason(mut self, reason: impl Into<FinishReason>) -> Self {
        self.finish_reason = Some(reason.into());
        self
    }

    /// Sets the usage.
    #[must_use]
    pub fn with_usage(mut self, usage: TokenUsage) -> Self {
        self.usage = Some(usage);
        self
    }

    /// Sets the model's name.
    #[must_use]
    pub fn with_model_name(mut self, name: impl Into<String>) -> Self {
        self.model_name = Some(name.into());
        self
    }

    /// Joins a later chunk of the same choice to this one: a result that takes in the joined one is the same as one that takes in both.
    pub(crate) fn join(&mut self, newer: Self) {
        self.text.push_str(&newer.text);
        for call in newer.tool_calls {
            match self.tool_calls.last_mut() {
                Some(last) if last.index == call.index && call.id.is_none() && call.name.is_none() => {
                    last.arguments.push_str(&call.arguments)
                }
                _ => self.tool_calls.push(call),
            }
        }
        self.finish_reason = newer.finish_reason.or(self.finish_reason.take());
        self.usage = newer.usage.or(self.usage.take());
        self.model_name = newer.model_name.or(self.model_name.take());
        for (key, value) in newer.extra {
            match (self.extra.get_mut(&key), value) {
                (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
                (_, value) => {
                    self.extra.insert(key, value);
                }
            }
        }
    }

    /// Whether it says nothing of a choice.
    fn is_bare(&self) -> bool {
        self.text.is_empty() && self.tool_calls.is_empty() && self.finish_reason.is_none() && self.extra.is_empty()
    }
}

impl From<&str> for LlmChunk {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for LlmChunk {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// A piece of a tool call: the first one of a call has its id and name, all have some of the arguments' text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct ToolCallChunk {
    /// Which call of the choice this belongs to, from 0.
    pub index: u32,
    /// The call's id.
    pub id: Option<String>,
    /// The tool's name.
    pub name: Option<String>,
    /// Some of the arguments' text.
    pub arguments: String,
}

impl ToolCallChunk {
    /// A piece of the call with that index.
    pub fn new(index: u32, arguments: impl Into<String>) -> Self {
        Self {
            index,
            arguments: arguments.into(),
            ..Self::default()
        }
    }

    /// Sets the call's id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the tool's name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}
