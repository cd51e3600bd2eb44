//! The chat model: requests to the server, with callbacks around them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rappel_core::{
    CallOptions, CallbackManager, ChatModel, ChatModelStart, LlmResult, LlmRun, LlmStream, Message,
    RunError, WithCallbacks,
};

use crate::attempts::{Attempts, fail};
use crate::client::Client;
use crate::convert::LlmChunks;
use crate::settings::Settings;

/// A chat model behind an OpenAI-compatible server.
///
/// # Events
/// Each conversation is a run. Its handlers get a start. With streaming, they get a token for every
/// chunk, empty ones included, *before* the chunk is returned. Then they get an end with the text,
/// finish reason, model and usage, or an error with the partial result. The cause of an error is an
/// [`OpenAiError`](crate::OpenAiError): see [`RunError::cause`].
///
/// With `n` answers, each token has the index of its answer, and the result has a generation for
/// each. Reasoning, refusals and tool calls are not part of a token's text: they are in its chunk.
/// Fields that this crate does not know are in [`LlmResult::llm_output`] and
/// [`Generation::extra`](rappel_core::Generation::extra).
///
/// # Cancellation
/// Dropping the future of a call, or a stream, ends its run as cancelled and closes the socket. If
/// the run is closed first, by [`CallbackManager::shutdown`] or by the end of a run above it, the
/// call returns an error and the socket is closed, too.
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
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        callbacks: Option<CallbackManager>,
    ) -> Self {
        Self(Arc::new(Inner { client, settings, callbacks }))
    }

    fn callbacks(&self, options: &CallOptions) -> CallbackManager {
        // As in LangChain: a call without callbacks inherits those of the current run.
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
        let client = &self.0.client;
        let mut attempts = Attempts::new(client);
        let mut run = run;
        let result = loop {
            let attempt = client.complete(&request, attempts.due());
            match run.until_closed(attempt).await? {
                Ok(result) => break result,
                Err(error) => run = attempts.next(run, error).await?,
            }
        };
        run.end(result.clone()).await?;
        Ok(result)
    }

    /// Opens a stream that emits its chunks on `run`.
    async fn open(&self, mut run: LlmRun, messages: &[Message]) -> Result<LlmStream, RunError> {
        let request = match self.0.settings.request(messages, true) {
            Ok(request) => request,
            Err(error) => return Err(fail(run, error).await),
        };
        let client = &self.0.client;
        let mut attempts = Attempts::new(client);
        let chunks = loop {
            let attempt = client.stream(&request, attempts.due());
            match run.until_closed(attempt).await? {
                Ok(chunks) => break chunks,
                Err(error) => run = attempts.next(run, error).await?,
            }
        };
        Ok(Box::pin(LlmChunks::new(chunks).with_callbacks(run)))
    }
}

#[async_trait]
impl ChatModel for ChatOpenAi {
    async fn generate_with(
        &self,
        messages: Vec<Vec<Message>>,
        options: CallOptions,
    ) -> Vec<Result<LlmResult, RunError>> {
        let callbacks = self.callbacks(&options);
        let settings = &self.0.settings;
        let batch_size = messages.len();
        let runs = messages.into_iter().enumerate().map(|(index, messages)| {
            let mut start = settings
                .start(&callbacks, &messages, &options, settings.streaming)
                .with_batch_size(batch_size);
            if let Some(id) = options.run_id.filter(|_| index == 0) {
                start = start.with_run_id(id);
            }
            self.generate_one(&callbacks, start, messages)
        });
        join_all(runs).await
    }

    async fn stream_with(
        &self,
        messages: Vec<Message>,
        options: CallOptions,
    ) -> Result<LlmStream, RunError> {
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
