//! What the models of this crate share: a run around each answer, as in a model with a server.

use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};
use rappel_core::{
    CallOptions, CallbackManager, ChatModelStart, LlmChunk, LlmResult, LlmRun, LlmStream, Map,
    Message, RunError, Value, WithCallbacks,
};

/// The chunks of an answer, before any handler has seen them.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<LlmChunk, RunError>> + Send>>;

/// The name, the callbacks and the runs of a model.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) name: String,
    pub(crate) callbacks: Option<CallbackManager>,
    pub(crate) streaming: bool,
}

impl Front {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), callbacks: None, streaming: true }
    }

    /// Runs several conversations concurrently. `answers` are theirs, in the same order.
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
            if self.streaming {
                collect(with_tokens(run, answer).await?).await
            } else {
                without_tokens(run, answer).await
            }
        }))
        .await
    }

    pub(crate) async fn stream<A>(
        &self,
        messages: &[Message],
        answer: A,
        options: &CallOptions,
    ) -> Result<LlmStream, RunError>
    where
        A: Future<Output = Result<Chunks, RunError>>,
    {
        let start = self.start(messages, options, true, true);
        let run = self.callbacks(options).on_chat_model_start(start).await?;
        with_tokens(run, answer).await
    }

    fn callbacks(&self, options: &CallOptions) -> CallbackManager {
        let call = options.callbacks.clone().or_else(CallbackManager::current);
        CallbackManager::configure(call.as_ref(), self.callbacks.as_ref())
    }

    fn start(
        &self,
        messages: &[Message],
        options: &CallOptions,
        stream: bool,
        is_first: bool,
    ) -> ChatModelStart {
        let name = options.run_name.as_deref().unwrap_or(&self.name);
        let params = Map::from_iter([
            ("model".to_owned(), Value::from(self.name.as_str())),
            ("stream".to_owned(), Value::from(stream)),
        ]);
        let start = ChatModelStart::new(name, messages).with_invocation_params(params);
        match options.run_id.filter(|_| is_first) {
            Some(id) => start.with_run_id(id),
            None => start,
        }
    }
}

/// Streams an answer. Handlers get a token for each chunk.
async fn with_tokens(
    run: LlmRun,
    answer: impl Future<Output = Result<Chunks, RunError>>,
) -> Result<LlmStream, RunError> {
    match run.until_closed(answer).await.and_then(|answer| answer) {
        Ok(chunks) => Ok(Box::pin(chunks.with_callbacks(run))),
        Err(error) => Err(fail(run, error).await),
    }
}

/// Waits for a whole answer. Handlers get no tokens.
async fn without_tokens(
    run: LlmRun,
    answer: impl Future<Output = Result<Chunks, RunError>>,
) -> Result<LlmResult, RunError> {
    let whole = async { collect(answer.await?).await };
    match run.until_closed(whole).await.and_then(|whole| whole) {
        Ok(result) => {
            run.end(result.clone()).await?;
            Ok(result)
        }
        Err(error) => Err(fail(run, error).await),
    }
}

/// Ends the run with an error, and returns the error.
async fn fail(run: LlmRun, error: RunError) -> RunError {
    // The caller gets the error of the answer. A failure of a handler at this point is reported.
    let _ = run.fail(error.clone()).await;
    error
}

async fn collect(mut chunks: Chunks) -> Result<LlmResult, RunError> {
    let mut result = LlmResult::new();
    while let Some(chunk) = chunks.next().await {
        result.push_chunk(&chunk?);
    }
    Ok(result)
}
