//! What a chat model is, so that code can take any.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;

use crate::error::RunError;
use crate::manager::{CallbackManager, IntoCallbacks};
use crate::message::Message;
use crate::result::{LlmChunk, LlmResult};
use crate::run_info::RunId;

/// The chunks of a model's answer, as they come. Dropping it cancels the generation.
pub type LlmStream = Pin<Box<dyn Stream<Item = Result<LlmChunk, RunError>> + Send>>;

/// A chat model that emits callbacks. `dyn ChatModel` is a type like any other.
///
/// A model has callbacks of its own, which are local to it, and takes more for a call, which what it calls in turn inherits.
#[async_trait]
pub trait ChatModel: Send + Sync {
    /// Asks the model about each conversation: a run each, all side by side. The results stand in the order of the conversations.
    ///
    /// Dropping the future cancels what is not done: each of those runs ends as [`RunError::Cancelled`].
    async fn generate_with(&self, messages: Vec<Vec<Message>>, options: CallOptions) -> Vec<Result<LlmResult, RunError>>;

    /// Asks the model, and streams its answer; each chunk's event is handled before the chunk is handed on.
    ///
    /// # Errors
    /// When the model cannot be asked; when its answer breaks off, the stream's last item says so.
    async fn stream_with(&self, messages: Vec<Message>, options: CallOptions) -> Result<LlmStream, RunError>;

    /// [`generate_with`](Self::generate_with) the model's own callbacks only.
    async fn generate(&self, messages: Vec<Vec<Message>>) -> Vec<Result<LlmResult, RunError>> {
        self.generate_with(messages, CallOptions::new()).await
    }

    /// [`stream_with`](Self::stream_with) the model's own callbacks only.
    ///
    /// # Errors
    /// As `stream_with`.
    async fn stream(&self, messages: Vec<Message>) -> Result<LlmStream, RunError> {
        self.stream_with(messages, CallOptions::new()).await
    }
}

/// What a single call of a model adds to the model's own settings.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallOptions {
    /// Callbacks of this call; what the model calls in turn inherits them.
    pub callbacks: Option<CallbackManager>,
    /// The name of the run, instead of the model's.
    pub run_name: Option<String>,
    /// The id of the run; of several, of the first.
    pub run_id: Option<RunId>,
}

impl CallOptions {
    /// No options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the callbacks of this call.
    #[must_use]
    pub fn callbacks(mut self, callbacks: impl IntoCallbacks) -> Self {
        self.callbacks = Some(callbacks.into_callbacks());
        self
    }

    /// Sets the name of the run.
    #[must_use]
    pub fn run_name(mut self, name: impl Into<String>) -> Self {
        self.run_name = Some(name.into());
        self
    }

    /// Sets the id of the run; of several, of the first.
    #[must_use]
    pub fn run_id(mut self, id: RunId) -> Self {
        self.run_id = Some(id);
        self
    }
}

impl<R> From<CallbackManager<R>> for CallOptions {
    fn from(callbacks: CallbackManager<R>) -> Self {
        Self::new().callbacks(callbacks)
    }
}
