//! Chunks: the items of a model's stream.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::{FinishReason, TokenLogprob, TokenUsage};
#[cfg(feature = "serde")]
use crate::model::event::is_default;
use crate::model::token::Token;
use crate::util::{conversions, setters};

/// A piece of a streamed result.
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct LlmChunk {
    /// The index of the choice that the chunk belongs to, from 0.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub index: u32,
    /// The text; it may be empty.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub text: Token,
    /// A piece of the model's reasoning. It is usually empty and is not part of the text.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub reasoning: Token,
    /// A piece of the model's refusal. It is usually empty and is not part of the text.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub refusal: Token,
    /// Pieces of tool calls.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub tool_calls: Vec<ToolCallChunk>,
    /// The probability of each token of the text or of the refusal, if it was requested.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub logprobs: Vec<TokenLogprob>,
    /// Why the choice ended, on its last chunk.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub finish_reason: Option<FinishReason>,
    /// The token usage. Providers that send it do so on the stream's last chunk.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub usage: Option<TokenUsage>,
    /// The name of the model that answers.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub model_name: Option<String>,
    /// The provider's id of the answer.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub response_id: Option<String>,
    /// The id of the request in the provider's logs, from a header of the response.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub request_id: Option<String>,
    /// Other fields of the provider about this choice. In the result, texts and lists of a key are
    /// joined, and other values are replaced, as in LangChain.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub extra: Map<String, Value>,
    /// Other fields of the provider about the answer as a whole. In the result, a later value of a
    /// key replaces an earlier one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub llm_output: Map<String, Value>,
}

impl LlmChunk {
    /// Makes a chunk of text.
    pub fn new(text: impl Into<Token>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Makes a chunk of the model's reasoning.
    pub fn from_reasoning(text: impl Into<Token>) -> Self {
        Self { reasoning: text.into(), ..Self::default() }
    }

    /// Makes a chunk of the model's refusal.
    pub fn from_refusal(text: impl Into<Token>) -> Self {
        Self { refusal: text.into(), ..Self::default() }
    }

    setters! {
        /// Adds pieces of tool calls.
        with_tool_calls(calls: impl IntoIterator<Item = ToolCallChunk>) {
            self.tool_calls.extend(calls)
        }
        /// Sets the index of the choice.
        with_index(index: u32) { self.index = index }
        /// Sets why the choice ended.
        with_finish_reason(reason: impl Into<FinishReason>) {
            self.finish_reason = Some(reason.into())
        }
        /// Sets the usage.
        with_usage(usage: TokenUsage) { self.usage = Some(usage) }
        /// Sets the model's name.
        with_model_name(name: impl Into<String>) { self.model_name = Some(name.into()) }
    }

    /// Joins a later chunk of the same choice to this one. Adding the joined chunk to a result has
    /// the same effect as adding both.
    pub(crate) fn join(&mut self, newer: Self) {
        self.text.push_str(&newer.text);
        self.reasoning.push_str(&newer.reasoning);
        self.refusal.push_str(&newer.refusal);
        for call in newer.tool_calls {
            match self.tool_calls.last_mut() {
                Some(last) if last.is_continued_by(&call) => {
                    last.arguments.push_str(&call.arguments)
                }
                _ => self.tool_calls.push(call),
            }
        }
        self.logprobs.extend(newer.logprobs);
        self.finish_reason = newer.finish_reason.or(self.finish_reason.take());
        self.usage = newer.usage.or(self.usage.take());
        self.model_name = newer.model_name.or(self.model_name.take());
        self.response_id = newer.response_id.or(self.response_id.take());
        self.request_id = newer.request_id.or(self.request_id.take());
        join_extra(&mut self.extra, &newer.extra);
        self.llm_output.extend(newer.llm_output);
    }

    /// Returns `true` if it has nothing that belongs to a choice.
    pub(super) fn is_bare(&self) -> bool {
        self.text.is_empty() && self.has_no_more_for_the_choice()
    }

    /// Returns `true` if it is text of the first choice, and nothing else.
    pub(crate) fn is_plain_text(&self) -> bool {
        self.index == 0
            && self.has_no_more_for_the_choice()
            && self.usage.is_none()
            && self.model_name.is_none()
            && self.response_id.is_none()
            && self.request_id.is_none()
            && self.llm_output.is_empty()
    }

    fn has_no_more_for_the_choice(&self) -> bool {
        self.reasoning.is_empty()
            && self.refusal.is_empty()
            && self.tool_calls.is_empty()
            && self.logprobs.is_empty()
            && self.finish_reason.is_none()
            && self.extra.is_empty()
    }
}

conversions! {
    impl From<&str> for LlmChunk = Self::new;
    impl From<String> for LlmChunk = Self::new;
}

/// A piece of a tool call. The first piece of a call has its id and name. Every piece may have some
/// of the arguments' text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct ToolCallChunk {
    /// The index of the call within its choice, from 0.
    pub index: u32,
    /// The call's id.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub id: Option<String>,
    /// The tool's name.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "is_default"))]
    pub name: Option<String>,
    /// A piece of the arguments' text.
    pub arguments: String,
    /// Other fields of the provider about the call.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Map::is_empty"))]
    pub extra: Map<String, Value>,
}

impl ToolCallChunk {
    /// Makes a piece of the call with that index.
    pub fn new(index: u32, arguments: impl Into<String>) -> Self {
        Self { index, arguments: arguments.into(), ..Self::default() }
    }

    setters! {
        /// Sets the call's id.
        with_id(id: impl Into<String>) { self.id = Some(id.into()) }
        /// Sets the tool's name.
        with_name(name: impl Into<String>) { self.name = Some(name.into()) }
    }

    /// Returns `true` if `newer` has nothing but more of this call's arguments.
    fn is_continued_by(&self, newer: &Self) -> bool {
        self.index == newer.index
            && newer.id.is_none()
            && newer.name.is_none()
            && newer.extra.is_empty()
    }
}

/// Joins the texts and lists of each key. Other values replace the earlier value.
pub(super) fn join_extra(known: &mut Map<String, Value>, news: &Map<String, Value>) {
    for (key, value) in news {
        match (known.get_mut(key), value) {
            (Some(Value::String(text)), Value::String(more)) => text.push_str(more),
            (Some(Value::Array(list)), Value::Array(more)) => list.extend_from_slice(more),
            _ => {
                known.insert(key.clone(), value.clone());
            }
        }
    }
}
