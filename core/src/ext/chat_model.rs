//! The trait of chat models.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;
use serde_json::{Map, Value};

use crate::manager::CallbackManager;
use crate::model::error::RunError;
use crate::model::message::{Conversation, Message};
use crate::model::result::{LlmChunk, LlmResult};
use crate::model::run_info::RunId;
use crate::util::{conversions, setters};

/// The chunks of a model's answer, as they arrive. Dropping the stream cancels the generation.
pub type LlmStream = Pin<Box<dyn Stream<Item = Result<LlmChunk, RunError>> + Send>>;

/// A chat model that emits callbacks.
///
/// It is dyn-compatible. A model has callbacks of its own, which apply to its own runs only. A call
/// can bring more callbacks, which the runs inside the call inherit. [`ChatModelExt`] adds
/// [`invoke`](ChatModelExt::invoke) for a single conversation.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Calls the model with several conversations, concurrently, each in a run of its own. The
    /// results are in the order of the conversations.
    ///
    /// Dropping the future cancels the conversations that are not finished: each of their runs ends
    /// as [`RunError::Cancelled`].
    async fn generate_with(
        &self,
        messages: Vec<Vec<Message>>,
        options: CallOptions,
    ) -> Vec<Result<LlmResult, RunError>>;

    /// Calls the model and streams its answer. The event of a chunk is handled before the stream
    /// yields the chunk.
    ///
    /// # Errors
    /// If the model cannot be called. If its answer breaks off, the stream's last item is an error.
    async fn stream_with(
        &self,
        messages: Vec<Message>,
        options: CallOptions,
    ) -> Result<LlmStream, RunError>;

    /// [`generate_with`](Self::generate_with) without options.
    async fn generate(&self, messages: Vec<Vec<Message>>) -> Vec<Result<LlmResult, RunError>> {
        self.generate_with(messages, CallOptions::new()).await
    }

    /// [`stream_with`](Self::stream_with) without options.
    ///
    /// # Errors
    /// As `stream_with`.
    async fn stream(&self, messages: Vec<Message>) -> Result<LlmStream, RunError> {
        self.stream_with(messages, CallOptions::new()).await
    }
}

/// Calls with a single conversation, for every [`ChatModel`], also `dyn ChatModel`.
pub trait ChatModelExt: ChatModel {
    /// Calls the model with one conversation: a `&str` or `String` (a message of the user), a
    /// [`Message`], or a `Vec<Message>`.
    ///
    /// Dropping the future cancels the run, which ends as [`RunError::Cancelled`].
    fn invoke(
        &self,
        conversation: impl Into<Conversation>,
    ) -> impl Future<Output = Result<LlmResult, RunError>> + Send {
        self.invoke_with(conversation, CallOptions::new())
    }

    /// As [`invoke`](Self::invoke), with options. A [`CallbackManager`] is an option too.
    fn invoke_with(
        &self,
        conversation: impl Into<Conversation>,
        options: impl Into<CallOptions>,
    ) -> impl Future<Output = Result<LlmResult, RunError>> + Send {
        let messages: Vec<Message> = conversation.into().into();
        let results = self.generate_with(Vec::from([messages]), options.into());
        async {
            let result = results.await.pop();
            result.unwrap_or_else(|| Err(RunError::failed("the model returned no result")))
        }
    }
}

impl<M: ChatModel + ?Sized> ChatModelExt for M {}

/// Options of a single call of a model. What an option does not name is the model's own setting.
///
/// A model ignores the options that it has no use for.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// Callbacks of this call. Runs inside the call inherit them.
    pub callbacks: Option<CallbackManager>,
    /// The name of the run, instead of the model's.
    pub run_name: Option<String>,
    /// The id of the run. With several conversations it is the id of the first run.
    pub run_id: Option<RunId>,
    /// The model's name on the server.
    pub model: Option<String>,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// The probability mass to sample from.
    pub top_p: Option<f64>,
    /// The maximum number of tokens in an answer.
    pub max_tokens: Option<u32>,
    /// The maximum number of tokens in an answer, including those of its reasoning.
    pub max_completion_tokens: Option<u32>,
    /// The texts that stop an answer.
    pub stop: Option<Vec<String>>,
    /// The seed of the sampling.
    pub seed: Option<i64>,
    /// The tools that the model may call, as the provider's JSON.
    pub tools: Option<Vec<Value>>,
    /// Whether the model calls a tool, as the provider's JSON.
    pub tool_choice: Option<Value>,
    /// The format of the answer, as the provider's JSON.
    pub response_format: Option<Value>,
    /// Other fields of the request. Their values are not in any event or `Debug` output.
    pub extra: Map<String, Value>,
    /// Headers of the request: names and values. The values are not in any event or `Debug` output.
    pub headers: Vec<(String, String)>,
    /// The limit until the response begins.
    pub first_byte_timeout: Option<Duration>,
    /// The limit between two packets of the response.
    pub chunk_timeout: Option<Duration>,
    /// The limit for the whole call.
    pub total_timeout: Option<Duration>,
}

impl CallOptions {
    /// Makes empty options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        /// Sets the callbacks of this call.
        callbacks(callbacks: impl Into<CallbackManager>) { self.callbacks = Some(callbacks.into()) }
        /// Sets the name of the run.
        run_name(name: impl Into<String>) { self.run_name = Some(name.into()) }
        /// Sets the id of the run. With several conversations it is the id of the first run.
        run_id(id: RunId) { self.run_id = Some(id) }
        /// Sets the model's name on the server.
        model(model: impl Into<String>) { self.model = Some(model.into()) }
        /// Sets the sampling temperature.
        temperature(temperature: f64) { self.temperature = Some(temperature) }
        /// Sets the probability mass to sample from.
        top_p(top_p: f64) { self.top_p = Some(top_p) }
        /// Sets the maximum number of tokens in an answer.
        max_tokens(tokens: u32) { self.max_tokens = Some(tokens) }
        /// Sets the maximum number of tokens in an answer, including those of its reasoning.
        max_completion_tokens(tokens: u32) { self.max_completion_tokens = Some(tokens) }
        /// Sets the seed of the sampling.
        seed(seed: i64) { self.seed = Some(seed) }
        /// Sets whether the model calls a tool.
        tool_choice(choice: impl Into<Value>) { self.tool_choice = Some(choice.into()) }
        /// Sets the format of the answer.
        response_format(format: impl Into<Value>) { self.response_format = Some(format.into()) }
    }

    /// Sets the texts that stop an answer.
    #[must_use]
    pub fn stop<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.stop = Some(texts.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the tools that the model may call. An empty list takes the model's own tools away.
    #[must_use]
    pub fn tools<T: Into<Value>>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        self.tools = Some(tools.into_iter().map(Into::into).collect());
        self
    }

    setters! {
        /// Adds any other field of the request.
        extra(name: impl Into<String>, value: impl Into<Value>) {
            self.extra.insert(name.into(), value.into())
        }
        /// Adds a header of the request.
        header(name: impl Into<String>, value: impl Into<String>) {
            self.headers.push((name.into(), value.into()))
        }
        /// Sets the limit until the response begins.
        first_byte_timeout(limit: Duration) { self.first_byte_timeout = Some(limit) }
        /// Sets the limit between two packets of the response.
        chunk_timeout(limit: Duration) { self.chunk_timeout = Some(limit) }
        /// Sets the limit for the whole call.
        total_timeout(limit: Duration) { self.total_timeout = Some(limit) }
    }
}

/// By hand: extra fields and headers may have secrets.
impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: Vec<&String> = self.extra.keys().collect();
        let headers: Vec<&String> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("CallOptions")
            .field("callbacks", &self.callbacks)
            .field("run_name", &self.run_name)
            .field("run_id", &self.run_id)
            .field("model", &self.model)
            .field("temperature", &self.temperature)
            .field("top_p", &self.top_p)
            .field("max_tokens", &self.max_tokens)
            .field("max_completion_tokens", &self.max_completion_tokens)
            .field("stop", &self.stop)
            .field("seed", &self.seed)
            .field("tools", &self.tools.as_ref().map(Vec::len))
            .field("tool_choice", &self.tool_choice)
            .field("response_format", &self.response_format)
            .field("extra", &extra)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

conversions! {
    impl From<CallbackManager> for CallOptions = |manager| Self::new().callbacks(manager);
    impl From<&CallbackManager> for CallOptions = |manager| Self::new().callbacks(manager);
}
