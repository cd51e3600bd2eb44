//! The chat model: requests with callbacks around them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rappel_core::{
    CallOptions, CallbackManager, ChatModel, ChatModelStart, LlmResult, LlmRun, LlmStream, Message, RunError, WithCallbacks,
};

use crate::attempts::{Attempts, fail};
use crate::builder::ChatOpenAiBuilder;
use crate::client::Client;
use crate::convert::{self, LlmChunks};
use crate::settings::Settings;

/// A chat model behind an OpenAI-compatible server.
///
/// Its handlers hear of a start; with streaming, of a token for every chunk, empty ones included, *before* the chunk is handed on; and of an
/// end with text, finish reason, model and usage, or of an error with what there was by then. The error of a run is an
/// [`OpenAiError`](crate::OpenAiError), to be had by [`RunError::cause`].
///
/// With `n` answers, each token says of which one it is a piece, and the result has a generation for each. Reasoning, refusals and tool calls are no
/// part of a token's text: they come with its chunk. What the server says beside is in [`LlmResult::llm_output`] and
/// [`Generation::extra`](rappel_core::Generation::extra).
///
/// It is cheap to clone, and clones share their connections.
#[derive(Clone)]
pub struct ChatOpenAi(Arc<Inner>);

struct Inner {
    client: Client,
    settings: Settings,
    callbacks: Option<CallbackManager>,
}

impl ChatOpenAi {
    /// Sets up a model.
    pub fn builder() -> ChatOpenAiBuilder {
        ChatOpenAiBuilder::default()
    }

    pub(crate) fn new(client: Client, settings: Settings, callbacks: Option<CallbackManager>) -> Self {
        Self(Arc::new(Inner {
            client,
            settings,
            callbacks,
        }))
    }

    fn callbacks(&self, options: &CallOptions) -> CallbackManager {
        // As with LangChain: what a call is not given, it has from the run that it is in.
        let inherited = options.callbacks.clone().or_else(CallbackManager::current);
        CallbackManager::configure(inherited.as_ref(), self.0.callbacks.as_ref())
    }

    async fn generate_one(
        &self,
        callbacks: &CallbackManager,
        start: ChatModelStart,
        messages: Vec<Message>,
    ) -> Result<LlmResult, RunError> {
        let run = callbacks.on_chat_model_start(start).await?;
        if self.0.settings.streaming {
            let mut chunks = self.open(run, &messages).await?;
            let mut result = LlmResult::new();
            while let Some(chunk) = chunks.next().await {
                result.push_chunk(&chunk?);
            }
            return Ok(result);
        }
        let request = match self.0.settings.request(&messages, false) {
            Ok(request) => request,
            Err(error) => return Err(fail(run, error).await),
        };
        let mut attempts = Attempts::new(&self.0.client);
        let mut run = run;
        let answer = loop {
            match self.0.client.complete(&request, attempts.due()).await {
                Ok(answer) => break answer,
                Err(error) => run = attempts.another(run, error).await?,
            }
        };
        let result = convert::result(answer);
        run.end(result.clone()).await?;
        Ok(result)
    }

    /// Opens a stream whose chunks the handlers of `run` hear of.
    async fn open(&self, run: LlmRun, messages: &[Message]) -> Result<LlmStream, RunError> {
        let request = match self.0.settings.request(messages, true) {
            Ok(request) => request,
            Err(error) => return Err(fail(run, error).await),
        };
        let mut attempts = Attempts::new(&self.0.client);
        let mut run = run;
        let chunks = loop {
            match self.0.client.stream(&request, attempts.due()).await {
                Ok(chunks) => break chunks,
                Err(error) => run = attempts.another(run, error).await?,
            }
        };
        Ok(Box::pin(LlmChunks::new(chunks).with_callbacks(run)))
    }
}

#[async_trait]
impl ChatModel for ChatOpenAi {
    async fn generate_with(&self, messages: Vec<Vec<Message>>, options: CallOptions) -> Vec<Result<LlmResult, RunError>> {
        let callbacks = self.callbacks(&options);
        let batch_size = messages.len();
        let runs = messages.into_iter().enumerate().map(|(index, messages)| {
            let start = self.0.settings.start(&callbacks, &messages, &options, self.0.settings.streaming);
            let mut start = start.with_batch_size(batch_size);
            if let Some(id) = options.run_id.filter(|_| index == 0) {
                start = start.with_run_id(id);
            }
            self.generate_one(&callbacks, start, messages)
        });
        join_all(runs).await
    }

    async fn stream_with(&self, messages: Vec<Message>, options: CallOptions) -> Result<LlmStream, RunError> {
        let callbacks = self.callbacks(&options);
        let mut start = self.0.settings.start(&callbacks, &messages, &options, true);
        if let Some(id) = options.run_id {
            start = start.with_run_id(id);
        }
        let run = callbacks.on_chat_model_start(start).await?;
        self.open(run, &messages).await
    }
}

impl fmt::Debug for ChatOpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatOpenAi")
            .field("client", &self.0.client)
            .field("settings", &self.0.settings)
            .field("callbacks", &self.0.callbacks)
            .finish()
    }
}
