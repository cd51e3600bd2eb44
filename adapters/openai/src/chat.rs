//! The chat model: requests with callbacks around them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rappel_core::{
    CallOptions, CallbackManager, ChatModel, ChatModelStart, LlmResult, LlmRun, LlmStream, Map, Message, RunError, Value, WithCallbacks,
    json,
};

use crate::attempts::Attempts;
use crate::builder::ChatOpenAiBuilder;
use crate::client::Client;
use crate::convert::{self, LlmChunks};
use crate::wire::{ChatRequest, StreamOptions};

/// The name of its runs, unless a call names them.
const NAME: &str = "ChatOpenAi";

/// A chat model behind an OpenAI-compatible server.
///
/// Its handlers hear of a start; with streaming, of a token for every chunk, empty ones included, *before* the chunk is handed on; and of an
/// end with text, finish reason, model and usage, or of an error with what there was by then. The error of a run is an
/// [`OpenAiError`](crate::OpenAiError), to be had by [`RunError::cause`].
///
/// It is cheap to clone, and clones share their connections.
#[derive(Clone)]
pub struct ChatOpenAi(Arc<Inner>);

struct Inner {
    client: Client,
    settings: Settings,
    callbacks: Option<CallbackManager>,
}

/// What a model asks for with every request.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) model: String,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) stop: Vec<String>,
    pub(crate) seed: Option<i64>,
    pub(crate) n: Option<u32>,
    pub(crate) user: Option<String>,
    pub(crate) extra: Extra,
    pub(crate) streaming: bool,
    pub(crate) no_stream_usage: bool,
}

/// Fields of the request that we know nothing of: a secret may be among them, so their values go to the server only.
#[derive(Default)]
pub(crate) struct Extra(pub(crate) Map<String, Value>);

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
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
        let request = self.0.settings.request(&messages, false);
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
        let request = self.0.settings.request(messages, true);
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

impl Settings {
    fn start(&self, callbacks: &CallbackManager, messages: &[Message], options: &CallOptions, stream: bool) -> ChatModelStart {
        let name = options.run_name.as_deref().unwrap_or(NAME);
        if !callbacks.has_handlers() {
            // A history may be long: it is copied for those who listen only.
            return ChatModelStart::new(name, []);
        }
        ChatModelStart::new(name, messages).with_invocation_params(self.invocation_params(stream))
    }

    /// What events tell of a request. The extra fields are left out: nobody knows what they hold.
    fn invocation_params(&self, stream: bool) -> Map<String, Value> {
        let params = [
            ("model", Some(json!(self.model))),
            ("max_tokens", self.max_tokens.map(Value::from)),
            ("temperature", self.temperature.map(Value::from)),
            ("top_p", self.top_p.map(Value::from)),
            ("stop", Some(json!(self.stop)).filter(|_| !self.stop.is_empty())),
            ("seed", self.seed.map(Value::from)),
            ("n", self.n.map(Value::from)),
            ("stream", Some(Value::Bool(stream))),
        ];
        params
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect()
    }

    fn request<'a>(&'a self, messages: &'a [Message], stream: bool) -> ChatRequest<'a> {
        ChatRequest {
            model: &self.model,
            messages: messages.iter().map(convert::message).collect(),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            stop: &self.stop,
            seed: self.seed,
            n: self.n,
            stream,
            stream_options: (stream && !self.no_stream_usage).then_some(StreamOptions { include_usage: true }),
            user: self.user.as_deref(),
            extra: Some(&self.extra.0).filter(|extra| !extra.is_empty()),
        }
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
