//! The trait of chat models.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::Future;
use core::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;

use crate::manager::CallbackManager;
use crate::model::error::RunError;
use crate::model::message::{Conversation, Message};
use crate::model::result::{LlmChunk, LlmResult};
use crate::model::run_info::RunId;

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

/// Options of a single call of a model, beside the model's own settings.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// Callbacks of this call. Runs inside the call inherit them.
    pub callbacks: Option<CallbackManager>,
    /// The name of the run, instead of the model's.
    pub run_name: Option<String>,
    /// The id of the run. With several conversations it is the id of the first run.
    pub run_id: Option<RunId>,
}

impl CallOptions {
    /// Makes empty options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the callbacks of this call.
    #[must_use]
    pub fn callbacks(mut self, callbacks: impl Into<CallbackManager>) -> Self {
        self.callbacks = Some(callbacks.into());
        self
    }

    /// Sets the name of the run.
    #[must_use]
    pub fn run_name(mut self, name: impl Into<String>) -> Self {
        self.run_name = Some(name.into());
        self
    }

    /// Sets the id of the run. With several conversations it is the id of the first run.
    #[must_use]
    pub fn run_id(mut self, id: RunId) -> Self {
        self.run_id = Some(id);
        self
    }
}

impl From<CallbackManager> for CallOptions {
    fn from(callbacks: CallbackManager) -> Self {
        Self::new().callbacks(callbacks)
    }
}

impl From<&CallbackManager> for CallOptions {
    fn from(callbacks: &CallbackManager) -> Self {
        Self::new().callbacks(callbacks)
    }
}
