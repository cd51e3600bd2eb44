//! Results: the output of a model.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use crate::model::message::{Message, ToolCall};
use crate::util::{conversions, setters};

mod chunk;
mod logprob;
mod usage;

use chunk::join_extra;
pub use chunk::{LlmChunk, ToolCallChunk};
pub use logprob::{TokenLogprob, TopLogprob};
pub use usage::{FinishReason, TokenUsage};

/// The output of a model for one prompt. A run that broke off has what was there until then.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct LlmResult {
    /// The choices, in the model's order. There is usually one.
    pub generations: Vec<Generation>,
    /// The token usage, if the provider sends it.
    pub usage: Option<TokenUsage>,
    /// The name of the model that answered, if the provider sends it. It may differ from the
    /// requested name.
    pub model_name: Option<String>,
    /// The provider's id of the answer.
    pub response_id: Option<String>,
    /// The id of the request in the provider's logs, from a header of the response.
    pub request_id: Option<String>,
    /// Other fields of the provider about the answer as a whole: `id` and `system_fingerprint`, for
    /// example.
    pub llm_output: Option<Value>,
}

impl LlmResult {
    /// Makes an empty result.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a result with one generation of that text.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self::new().with_generation(Generation::new(text))
    }

    setters! {
        /// Adds a generation.
        with_generation(generation: Generation) { self.generations.push(generation) }
        /// Sets the usage.
        with_usage(usage: TokenUsage) { self.usage = Some(usage) }
        /// Sets the model's name.
        with_model_name(name: impl Into<String>) { self.model_name = Some(name.into()) }
        /// Sets the other fields of the provider.
        with_llm_output(output: Value) { self.llm_output = Some(output) }
    }

    /// Returns the text of the first generation, or an empty text if there is none.
    ///
    /// [`reasoning`](Generation::reasoning) and [`refusal`](Generation::refusal) are not part of it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.generations.first().map_or("", |generation| &generation.text)
    }

    /// Returns why the first generation ended, if the provider sends it.
    #[must_use]
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.generations.first()?.finish_reason.as_ref()
    }

    /// Appends text to the first generation. It makes one if there is none.
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

    /// Adds the next chunk of a stream: it joins texts and tool calls, and replaces the usage and
    /// the model's name.
    ///
    /// A choice index above 127 counts as 127, and the index of a tool call above 1,023 as 1,023,
    /// because indices come from the provider and must not let memory grow.
    pub fn push_chunk(&mut self, chunk: &LlmChunk) {
        const MOST_CHOICES: usize = 128;
        keep_latest(&mut self.usage, &chunk.usage);
        keep_latest(&mut self.model_name, &chunk.model_name);
        keep_latest(&mut self.response_id, &chunk.response_id);
        keep_latest(&mut self.request_id, &chunk.request_id);
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

/// Adds the chunks of a stream with [`push_chunk`](LlmResult::push_chunk).
impl Extend<LlmChunk> for LlmResult {
    fn extend<I: IntoIterator<Item = LlmChunk>>(&mut self, chunks: I) {
        chunks.into_iter().for_each(|chunk| self.push_chunk(&chunk));
    }
}

/// Makes the result of the chunks of a stream.
///
/// ```
/// # use rappel_core::{LlmChunk, LlmResult};
/// let result: LlmResult = ["Why", " not?"].map(LlmChunk::new).into_iter().collect();
/// assert_eq!(result.text(), "Why not?");
/// ```
impl FromIterator<LlmChunk> for LlmResult {
    fn from_iter<I: IntoIterator<Item = LlmChunk>>(chunks: I) -> Self {
        let mut result = Self::new();
        result.extend(chunks);
        result
    }
}

conversions! {
    impl From<&str> for LlmResult = Self::from_text;
    impl From<String> for LlmResult = Self::from_text;
}

/// One answer of a model.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Generation {
    /// The text. It is empty if the model only calls tools.
    pub text: String,
    /// The model's reasoning. It is usually empty and is not part of the text.
    pub reasoning: String,
    /// The model's refusal. It is usually empty and is not part of the text.
    pub refusal: String,
    /// Why the generation ended, if the provider sends it.
    pub finish_reason: Option<FinishReason>,
    /// The tool calls that the model asks for.
    pub tool_calls: Vec<ToolCall>,
    /// The probability of each token of the text or of the refusal, if it was requested.
    pub logprobs: Vec<TokenLogprob>,
    /// Other fields of the provider about this answer.
    pub extra: Map<String, Value>,
}

impl Generation {
    /// Makes a generation of that text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    setters! {
        /// Sets why the generation ended.
        with_finish_reason(reason: impl Into<FinishReason>) {
            self.finish_reason = Some(reason.into())
        }
        /// Adds tool calls.
        with_tool_calls(calls: impl IntoIterator<Item = ToolCall>) { self.tool_calls.extend(calls) }
    }

    fn push_chunk(&mut self, chunk: &LlmChunk) {
        self.text.push_str(&chunk.text);
        self.reasoning.push_str(&chunk.reasoning);
        self.refusal.push_str(&chunk.refusal);
        self.logprobs.extend_from_slice(&chunk.logprobs);
        keep_latest(&mut self.finish_reason, &chunk.finish_reason);
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
        keep_latest(&mut call.id, &chunk.id);
        if let Some(name) = &chunk.name {
            call.name.push_str(name);
        }
        call.arguments.push_str(&chunk.arguments);
        join_extra(&mut call.extra, &chunk.extra);
    }
}

/// Replaces a value if there is a newer one.
fn keep_latest<T: Clone>(known: &mut Option<T>, newer: &Option<T>) {
    if newer.is_some() {
        known.clone_from(newer);
    }
}

/// Fields that providers need back with the next turn.
const FOR_NEXT_TURN: [&str; 8] = [
    "reasoning_details",
    "reasoning_items",
    "reasoning_signature",
    "thinking_blocks",
    "thought_signature",
    "thought_signatures",
    "extra_content",
    "encrypted_content",
];

/// The model's message for the next turn of the conversation.
///
/// It has the text and the tool calls. If the text is empty, it has the refusal. The
/// [reasoning](Generation::reasoning) is in [`Message::extra`] as `reasoning_content`, beside other
/// fields that some providers need back. The client decides what it sends, because most providers
/// do not accept them.
impl From<Generation> for Message {
    fn from(generation: Generation) -> Self {
        let mut extra = generation.extra;
        extra.retain(|name, _| FOR_NEXT_TURN.contains(&name.as_str()));
        if !generation.reasoning.is_empty() {
            extra.insert("reasoning_content".into(), generation.reasoning.into());
        }
        let text = if generation.text.is_empty() { generation.refusal } else { generation.text };
        Self::ai(text).with_tool_calls(generation.tool_calls).with_extra(extra)
    }
}
