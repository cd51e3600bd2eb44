//! Results: what comes out of a model.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde_json::{Map, Value};

use crate::message::ToolCall;

mod chunk;
mod logprob;

use chunk::join_extra;
pub use chunk::{LlmChunk, ToolCallChunk};
pub use logprob::{TokenLogprob, TopLogprob};

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
    /// What the provider says beside of the answer as a whole: its `id` and `system_fingerprint`, for example, and whatever has no field here.
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

    /// The text of the first generation; empty without one. What the model [reasoned](Generation::reasoning) is no part of it, nor why it
    /// [refused](Generation::refusal).
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
    #[inline]
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
        self.push_output(&chunk.llm_output);
        if chunk.is_bare() {
            return;
        }
        let index = (chunk.index as usize).min(MOST_CHOICES - 1);
        if self.generations.len() <= index {
            self.generations.resize_with(index + 1, Generation::default);
        }
        self.generations[index].push_chunk(chunk);
    }

    fn push_output(&mut self, news: &Map<String, Value>) {
        if news.is_empty() {
            return;
        }
        let news = news.iter().map(|(key, value)| (key.clone(), value.clone()));
        match &mut self.llm_output {
            Some(Value::Object(output)) => output.extend(news),
            output => *output = Some(Value::Object(news.collect())),
        }
    }
}

/// One answer of a model.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Generation {
    /// The text; empty where the model only calls tools.
    pub text: String,
    /// What the model thought aloud before and between; mostly empty, and no part of the text.
    pub reasoning: String,
    /// Why the model will not answer, in its own words; mostly empty, and no part of the text.
    pub refusal: String,
    /// Why the generation ended, if the provider tells.
    pub finish_reason: Option<FinishReason>,
    /// The tools that the model asks for.
    pub tool_calls: Vec<ToolCall>,
    /// How likely each token of the text was, or of the refusal, where that was asked for.
    pub logprobs: Vec<TokenLogprob>,
    /// What the provider says beside of this answer, in fields that have no name here.
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
        self.reasoning.push_str(&chunk.reasoning);
        self.refusal.push_str(&chunk.refusal);
        self.logprobs.extend_from_slice(&chunk.logprobs);
        if let Some(reason) = &chunk.finish_reason {
            self.finish_reason = Some(reason.clone());
        }
        for call in &chunk.tool_calls {
            self.push_tool_call(call);
        }
        join_extra(&mut self.extra, &chunk.extra);
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
        join_extra(&mut call.extra, &chunk.extra);
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
    /// What else the provider counts, under its own names: `prompt_tokens_details`, `cost`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Map::is_empty"))]
    pub extra: Map<String, Value>,
}

impl TokenUsage {
    /// A usage of so many tokens; the total is their sum.
    #[must_use]
    pub fn new(prompt_tokens: u64, completion_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            cached_tokens: None,
            reasoning_tokens: None,
            extra: Map::new(),
        }
    }

    /// Sets how many tokens of the prompt came from the provider's cache.
    #[must_use]
    pub fn with_cached_tokens(mut self, tokens: u64) -> Self {
        self.cached_tokens = Some(tokens);
        self
    }

    /// Sets how many tokens of the completion were spent on reasoning.
    #[must_use]
    pub fn with_reasoning_tokens(mut self, tokens: u64) -> Self {
        self.reasoning_tokens = Some(tokens);
        self
    }
}
