//! The payloads of the events of models.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde_json::{Map, Value};

#[cfg(feature = "serde")]
use super::is_default;
use super::start::{StartOrigin, start_setters};
use crate::model::error::RunError;
use crate::model::message::{Message, buffer_string};
use crate::model::result::{LlmChunk, LlmResult, ToolCallChunk};
use crate::model::run_info::RunId;
use crate::model::token::Token;
use crate::util::{conversions, setters};

start_setters!(LlmStart, ChatModelStart);

macro_rules! model_starts {
    ($($payload:ident),+) => {$(
        impl $payload {
            setters! {
                /// Sets the parameters that the model was called with.
                with_invocation_params(params: Map<String, Value>) {
                    self.invocation_params = params
                }
                /// Sets the provider: `openai` or `anthropic`, for example.
                with_provider(provider: impl Into<String>) { self.provider = Some(provider.into()) }
                /// Sets the server's host name or address, and its port.
                with_server(address: impl Into<String>, port: impl Into<Option<u16>>) {
                    self.server_address = Some(address.into());
                    self.server_port = port.into()
                }
                /// Sets the number of prompts that the model was called with at once.
                with_batch_size(size: usize) { self.batch_size = size }
            }
        }
    )+};
}
model_starts!(LlmStart, ChatModelStart);

/// A text model was called.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LlmStart {
    /// The name of the model or of the client, as the client's author chooses.
    pub name: Arc<str>,
    /// The prompt. Each prompt of a batch has a run of its own.
    pub prompt: String,
    /// The number of prompts that the model was called with at once.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub batch_size: usize,
    /// The parameters that the model was called with: name, temperature and so on. They must not
    /// contain a secret.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub invocation_params: Map<String, Value>,
    /// The provider, in the words of OpenTelemetry's `gen_ai.provider.name`: `openai`, `anthropic`,
    /// `gcp.gemini`, `mistral_ai`, or a name of your own.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub provider: Option<String>,
    /// The host name or address of the server.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub server_address: Option<String>,
    /// The port of the server.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub server_port: Option<u16>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) origin: StartOrigin,
}

impl LlmStart {
    /// Makes the start of a run of the model `name`.
    pub fn new(name: impl Into<Arc<str>>, prompt: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            prompt: prompt.into(),
            batch_size: 1,
            invocation_params: Map::new(),
            provider: None,
            server_address: None,
            server_port: None,
            origin: StartOrigin::default(),
        }
    }
}

/// A chat model was called.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ChatModelStart {
    /// The name of the model or of the client, as the client's author chooses.
    pub name: Arc<str>,
    /// The conversation. Each conversation of a batch has a run of its own.
    pub messages: Vec<Message>,
    /// The number of conversations that the model was called with at once.
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub batch_size: usize,
    /// The parameters that the model was called with: name, temperature and so on. They must not
    /// contain a secret.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "is_default"))]
    pub invocation_params: Map<String, Value>,
    /// The provider, in the words of OpenTelemetry's `gen_ai.provider.name`: `openai`, `anthropic`,
    /// `gcp.gemini`, `mistral_ai`, or a name of your own.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub provider: Option<String>,
    /// The host name or address of the server.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub server_address: Option<String>,
    /// The port of the server.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub server_port: Option<u16>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) origin: StartOrigin,
}

impl ChatModelStart {
    /// Makes the start of a run of the model `name`.
    pub fn new(name: impl Into<Arc<str>>, messages: impl Into<Vec<Message>>) -> Self {
        Self {
            name: name.into(),
            messages: messages.into(),
            batch_size: 1,
            invocation_params: Map::new(),
            provider: None,
            server_address: None,
            server_port: None,
            origin: StartOrigin::default(),
        }
    }

    /// Makes the start that a handler of text models gets: the prompt is
    /// [`buffer_string`](crate::buffer_string) of the messages.
    #[must_use]
    pub fn to_llm_start(&self) -> LlmStart {
        LlmStart {
            name: self.name.clone(),
            prompt: buffer_string(&self.messages),
            batch_size: self.batch_size,
            invocation_params: self.invocation_params.clone(),
            provider: self.provider.clone(),
            server_address: self.server_address.clone(),
            server_port: self.server_port,
            origin: StartOrigin { run_id: self.origin.run_id, rare: None },
        }
    }
}

/// A model streamed a token: of its text, of its [`reasoning`](Self::reasoning), of a
/// [`refusal`](Self::refusal), or of [tool calls](Self::tool_calls).
///
/// Only the text is in `token`, so a handler that prints `token` prints the answer.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LlmNewToken {
    /// A piece of the answer's text. It is empty if the event has something else.
    #[cfg_attr(feature = "serde", serde(default))]
    pub token: Token,
    /// The chunk that contained the token. `None` if the token is all that the chunk had: plain
    /// text of the first choice.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub chunk: Option<Box<LlmChunk>>,
}

impl LlmNewToken {
    /// Makes a token without a chunk.
    pub fn new(token: impl Into<Token>) -> Self {
        Self { token: token.into(), chunk: None }
    }

    /// Puts `token` in its place. Most tokens own no memory, so that nothing is dropped.
    #[inline(always)]
    pub(crate) fn replace_with(&mut self, token: Self) {
        match self.chunk.is_none() && self.token.is_inline() {
            true => core::mem::forget(core::mem::replace(self, token)),
            false => *self = token,
        }
    }

    /// Returns the index of the choice that the token belongs to, from 0.
    #[must_use]
    pub fn choice(&self) -> u32 {
        self.chunk.as_ref().map_or(0, |chunk| chunk.index)
    }

    /// Returns a piece of the model's reasoning. It is usually empty.
    #[must_use]
    pub fn reasoning(&self) -> &str {
        self.chunk.as_ref().map_or("", |chunk| &chunk.reasoning)
    }

    /// Returns a piece of the model's refusal. It is usually empty.
    #[must_use]
    pub fn refusal(&self) -> &str {
        self.chunk.as_ref().map_or("", |chunk| &chunk.refusal)
    }

    /// Returns pieces of tool calls. There are usually none.
    #[must_use]
    pub fn tool_calls(&self) -> &[ToolCallChunk] {
        self.chunk.as_ref().map_or(&[], |chunk| &chunk.tool_calls)
    }

    /// Joins a later token to this one and returns `true`, if both belong to the same choice.
    pub(crate) fn join(&mut self, newer: &Self) -> bool {
        if self.choice() != newer.choice() {
            return false;
        }
        if self.chunk.is_some() || newer.chunk.is_some() {
            let mut chunk =
                self.chunk.take().unwrap_or_else(|| Box::new(LlmChunk::new(self.token.clone())));
            match &newer.chunk {
                Some(more) => chunk.join((**more).clone()),
                None => chunk.join(LlmChunk::new(newer.token.clone())),
            }
            self.chunk = Some(chunk);
        }
        self.token.push_str(&newer.token);
        true
    }
}

conversions! {
    impl From<&str> for LlmNewToken = Self::new;
    impl From<String> for LlmNewToken = Self::new;
    impl From<Token> for LlmNewToken = Self::new;
    impl From<LlmChunk> for LlmNewToken = |chunk: LlmChunk| match chunk.is_plain_text() {
        true => Self::new(chunk.text),
        false => Self { token: chunk.text.clone(), chunk: Some(Box::new(chunk)) },
    };
}

/// A model finished.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LlmEnd {
    /// The result.
    pub result: LlmResult,
    /// The result is the run's partial result, which is filled in when the end is accepted. If the
    /// end is not accepted, the error that replaces it gets the partial result.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) of_tokens: bool,
}

impl LlmEnd {
    /// Makes the end with that result.
    #[must_use]
    pub fn new(result: LlmResult) -> Self {
        Self { result, of_tokens: false }
    }

    /// Makes the end whose result is the run's partial result.
    pub(crate) fn of_tokens() -> Self {
        Self { of_tokens: true, ..Self::new(LlmResult::new()) }
    }
}

/// A model failed, was stopped, or was cancelled.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LlmError {
    /// The error.
    pub error: RunError,
    /// The result until then. It is empty if no token had arrived.
    #[cfg_attr(feature = "serde", serde(default))]
    pub partial: LlmResult,
}

impl LlmError {
    /// Makes the error with the result until then.
    #[must_use]
    pub fn new(error: RunError, partial: LlmResult) -> Self {
        Self { error, partial }
    }
}

/// The size of a batch of one.
#[cfg(feature = "serde")]
const fn one() -> usize {
    1
}
