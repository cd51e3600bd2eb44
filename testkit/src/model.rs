//! What the models of this crate have in common: runs around chunks, as a model behind a server has them.

use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use rappel_core::{
    CallOptions, CallbackManager, ChatModelStart, LlmChunk, LlmResult, LlmRun, LlmStream, Map, Message, RunError, Value, WithCallbacks,
};

/// An answer on its way, of which nobody has been told.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<LlmChunk, RunError>> + Send>>;

/// The callbacks of a model, and what their events say of it.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) name: String,
    pub(crate) callbacks: Option<CallbackManager>,
    pub(crate) streaming: bool,
}

impl Front {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            callbacks: None,
            streaming: true,
        }
    }

    /// Asks about each conversation, a run each; `answers` are theirs, in order.
    pub(crate) async fn generate<A>(
        &self,
        messages: Vec<Vec<Message>>,
        answers: Vec<A>,
        options: &CallOptions,
    ) -> Vec<Result<LlmResult, RunError>>
    where
        A: Future<Output = Result<Chunks, RunError>>,
    {
        let batch_size = messages.len();
        let runs = messages.into_iter().zip(answers).enumerate();
        join_all(runs.map(|(index, (messages, answer))| async move {
            let start = self
                .start(&messages, options, self.streaming, index == 0)
                .with_batch_size(batch_size);
            let run = self.callbacks(options).on_chat_model_start(start).await?;
            match self.streaming {
                true => collected(Self::told(run, answer).await?).await,
                false => Self::whole(run, answer).await,
            }
        }))
        .await
    }

    pub(crate) async fn stream<A>(&self, messages: &[Message], answer: A, options: &CallOptions) -> Result<LlmStream, RunError>
    where
        A: Future<Output = Result<Chunks, RunError>>,
    {
        let start = self.start(messages, options, true, true);
        let run = self.callbacks(options).on_chat_model_start(start).await?;
        Self::told(run, answer).await
    }

    fn callbacks(&self, options: &CallOptions) -> CallbackManager {
        let inherited = options.callbacks.clone().or_else(CallbackManager::current);
        CallbackManager::configure(inherited.as_ref(), self.callbacks.as_ref())
    }

    fn start(&self, messages: &[Message], options: &CallOptions, stream: bool, first: bool) -> ChatModelStart {
        let name = options.run_name.as_deref().unwrap_or(&self.name);
        let params = [("model", Value::from(self.name.as_str())), ("stream", Value::from(stream))];
        let params: Map<String, Value> = params.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let start = ChatModelStart::new(name, messages).with_invocation_params(params);
        match options.run_id.filter(|_| first) {
            Some(id) => start.with_run_id(id),
            None => start,
        }
    }

    async fn told(run: LlmRun, answer: impl Future<Output = Result<Chunks, RunError>>) -> Result<LlmStream, RunError> {
        match answer.await {
            Ok(chunks) => Ok(Box::pin(chunks.with_callbacks(run))),
            Err(error) => Err(failed(run, error).await),
        }
    }

    /// An answer that comes in one piece: handlers hear of no token.
    async fn whole(run: LlmRun, answer: impl Future<Output = Result<Chunks, RunError>>) -> Result<LlmResult, RunError> {
        let result = match answer.await {
            Ok(chunks) => collected(chunks).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(result) => {
                run.end(result.clone()).await?;
                Ok(result)
            }
            Err(error) => Err(failed(run, error).await),
        }
    }
}

async fn failed(run: LlmRun, error: RunError) -> RunError {
    // The error that counts is the answer's. A handler that raises at this point has been reported.
    let _ = run.error(error.clone()).await;
    error
}

async fn collected(mut chunks: Chunks) -> Result<LlmResult, RunError> {
    let mut result = LlmResult::new();
    while let Some(chunk) = chunks.next().await {
        result.push_chunk(&chunk?);
    }
    Ok(result)
}
