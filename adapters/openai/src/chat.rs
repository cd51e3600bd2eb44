//! The chat model: requests to the server, with callbacks around them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rappel_core::{
    CallOptions, CallbackManager, ChatModel, ChatModelStart, LlmResult, LlmStream, Message,
    RunError,
};

use crate::attempts::{Attempts, fail};
use crate::call::Call;
use crate::client::Client;
use crate::error::OpenAiError;
use crate::retrying::Opening;
use crate::settings::Settings;

/// The name of a run, unless the call has one.
const NAME: &str = "ChatOpenAi";

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
pub struct ChatOpenAi {
    call: Arc<Call>,
    callbacks: Option<CallbackManager>,
}

impl ChatOpenAi {
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        callbacks: Option<CallbackManager>,
    ) -> Self {
        let memory = Arc::default();
        Self { call: Arc::new(Call { client, settings, memory }), callbacks }
    }

    fn callbacks(&self, options: &CallOptions) -> CallbackManager {
        // As in LangChain: a call without callbacks inherits those of the current run.
        let inherited = options.callbacks.clone().or_else(CallbackManager::current);
        CallbackManager::configure(inherited.as_ref(), self.callbacks.as_ref())
    }

    /// The settings of a call, and its start. Invalid options are the error of its run.
    fn start(
        &self,
        callbacks: &CallbackManager,
        messages: &[Message],
        options: &CallOptions,
        stream: Option<bool>,
    ) -> (Result<Arc<Call>, OpenAiError>, ChatModelStart) {
        let call = self.call.with(options);
        let name = options.run_name.as_deref().unwrap_or(NAME);
        if !callbacks.has_handlers() {
            // A long history is not copied if no handler gets it.
            return (call, ChatModelStart::new(name, []));
        }
        let Call { client, settings, .. } = &**call.as_ref().unwrap_or(&self.call);
        let start = settings.start(name, messages, stream.unwrap_or(settings.streaming));
        let start = client.name_in(start);
        (call, start)
    }
}

async fn generate_one(
    call: Result<Arc<Call>, OpenAiError>,
    callbacks: &CallbackManager,
    start: ChatModelStart,
    messages: Vec<Message>,
) -> Result<LlmResult, RunError> {
    let mut run = callbacks.on_chat_model_start(start).await?;
    let call = match call {
        Ok(call) => call,
        Err(error) => return Err(fail(run, error).await),
    };
    if call.settings.streaming {
        let mut chunks = Opening::new(call, messages).open(run).await?;
        let mut result = LlmResult::new();
        while let Some(chunk) = chunks.next().await {
            result.push_chunk(&chunk?);
        }
        return Ok(result);
    }
    let request = match call.request(&messages, false) {
        Ok(request) => request,
        Err(error) => return Err(fail(run, error).await),
    };
    let client = &call.client;
    let mut attempts = Attempts::new(client);
    let result = loop {
        let attempt = client.complete(&request, call.memory.clone(), attempts.due());
        match run.until_closed(attempt).await? {
            Ok(result) => break result,
            Err(error) => run = attempts.next(client, run, error).await?,
        }
    };
    run.end(result.clone()).await?;
    Ok(result)
}

#[async_trait]
impl ChatModel for ChatOpenAi {
    async fn generate_with(
        &self,
        messages: Vec<Vec<Message>>,
        options: CallOptions,
    ) -> Vec<Result<LlmResult, RunError>> {
        let callbacks = self.callbacks(&options);
        let batch_size = messages.len();
        let runs = messages.into_iter().enumerate().map(|(index, messages)| {
            let (call, start) = self.start(&callbacks, &messages, &options, None);
            let mut start = start.with_batch_size(batch_size);
            if let Some(id) = options.run_id.filter(|_| index == 0) {
                start = start.with_run_id(id);
            }
            generate_one(call, &callbacks, start, messages)
        });
        join_all(runs).await
    }

    async fn stream_with(
        &self,
        messages: Vec<Message>,
        options: CallOptions,
    ) -> Result<LlmStream, RunError> {
        let callbacks = self.callbacks(&options);
        let (call, mut start) = self.start(&callbacks, &messages, &options, Some(true));
        if let Some(id) = options.run_id {
            start = start.with_run_id(id);
        }
        let run = callbacks.on_chat_model_start(start).await?;
        match call {
            Ok(call) => Opening::new(call, messages).open(run).await,
            Err(error) => Err(fail(run, error).await),
        }
    }
}

impl fmt::Debug for ChatOpenAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatOpenAi")
            .field("client", &self.call.client)
            .field("settings", &self.call.settings)
            .field("callbacks", &self.callbacks)
            .finish()
    }
}
