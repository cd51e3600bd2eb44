//! How a model is set up.

use std::env;
use std::fmt;

use rappel_core::{CallbackManager, IntoCallbacks, Value};
use serde::Serialize;

use crate::chat::ChatOpenAi;
use crate::connection::ConnectionSettings;
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::secret::Secret;
use crate::settings::{Settings, StreamOptions, Tools, object, value};
use crate::wire::ChatRequest;

const BASE_URL: &str = "OPENAI_BASE_URL";
const API_KEY: &str = "OPENAI_API_KEY";
const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// Sets up a [`ChatOpenAi`]; made by [`ChatOpenAi::builder`].
///
/// A mistake, such as a URL that is none, is told by [`build`](Self::build).
#[derive(Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct ChatOpenAiBuilder {
    settings: Settings,
    base_url: Option<String>,
    api_key: Option<String>,
    pub(crate) connection: ConnectionSettings,
    callbacks: Option<CallbackManager>,
    /// The first of the settings that cannot be sent.
    mistake: Option<OpenAiError>,
}

impl ChatOpenAiBuilder {
    /// The model's name, as the server knows it. There is no default.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.settings.model = model.into();
        self
    }

    /// The server's address up to and with the version: `http://localhost:8000/v1`. Default: the environment's `OPENAI_BASE_URL`, else OpenAI's.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The key. Default: the environment's `OPENAI_API_KEY`, else none is sent. It never occurs in a `Debug`, an error or an event:
    /// where a server repeats it, it is taken out, of answers if it has 16 letters or more.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The most tokens that an answer may have. OpenAI's reasoning models take [`max_completion_tokens`](Self::max_completion_tokens) instead.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.settings.max_tokens = Some(tokens);
        self
    }

    /// The most tokens that an answer may have, those of its reasoning included.
    pub fn max_completion_tokens(mut self, tokens: u32) -> Self {
        self.settings.max_completion_tokens = Some(tokens);
        self
    }

    /// The sampling temperature, from 0 to 2 with OpenAI.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.settings.temperature = Some(temperature);
        self
    }

    /// The share of probability that is sampled from, up to 1.
    pub fn top_p(mut self, top_p: f64) -> Self {
        self.settings.top_p = Some(top_p);
        self
    }

    /// Texts that end an answer.
    pub fn stop<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.settings.stop = texts.into_iter().map(Into::into).collect();
        self
    }

    /// The seed of the sampling.
    pub fn seed(mut self, seed: i64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// How many answers to ask for, 128 at most: each is a generation of the result.
    pub fn n(mut self, answers: u32) -> Self {
        self.settings.n = Some(answers);
        self
    }

    /// The tools that the model may ask for: each a [`Tool`](crate::Tool), or whatever serializes to the JSON of one, as the types of
    /// `async-openai` do.
    pub fn tools<T: Serialize>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        let tools: Result<_, _> = tools.into_iter().map(|tool| object("tools", tool)).collect();
        if let Some(tools) = self.checked(tools) {
            self.settings.tools = Tools(tools);
        }
        self
    }

    /// Whether the model asks for a tool: a [`ToolChoice`](crate::ToolChoice), or whatever serializes to the JSON of one.
    pub fn tool_choice(mut self, choice: impl Serialize) -> Self {
        self.settings.tool_choice = self.checked(value("tool_choice", choice));
        self
    }

    /// The form that an answer is to have: a [`ResponseFormat`](crate::ResponseFormat), or whatever serializes to the JSON of one.
    pub fn response_format(mut self, format: impl Serialize) -> Self {
        self.settings.response_format = self.checked(object("response_format", format));
        self
    }

    /// Who asks, for the provider's records. It is in no event.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.user = Some(user.into());
        self
    }

    /// Any other field of the request: `reasoning_effort`, `logprobs`, `parallel_tool_calls`, `top_k`. Its value goes to the server only: it is in
    /// no event and no `Debug`.
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.extra.0.insert(name.into(), value.into());
        self
    }

    /// Whether [`generate`](rappel_core::ChatModel::generate) has the server stream the answer, so that handlers hear of its tokens. Default: no.
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.settings.streaming = streaming;
        self
    }

    /// Whether a stream is to end with its usage. Default: yes; some servers refuse to be asked.
    pub fn stream_usage(mut self, usage: bool) -> Self {
        self.settings.stream_options = if usage { StreamOptions::Usage } else { StreamOptions::None };
        self
    }

    /// The `stream_options` of streamed requests, in the place of those that [`stream_usage`](Self::stream_usage) makes: a JSON object.
    pub fn stream_options(mut self, options: impl Serialize) -> Self {
        if let Some(options) = self.checked(object("stream_options", options)) {
            self.settings.stream_options = StreamOptions::Own(options);
        }
        self
    }

    /// The model's own callbacks: local to it.
    ///
    /// To wait for what a call that was given up leaves to be told, `flush` the manager of that call, if it was given one, or else this one.
    pub fn callbacks(mut self, callbacks: impl IntoCallbacks) -> Self {
        self.callbacks = Some(callbacks.into_callbacks());
        self
    }

    /// The model.
    ///
    /// # Errors
    /// [`OpenAiError`]: no model, a URL, a proxy or a key that cannot be used, a certificate that is none, a setting whose value cannot be sent, an
    /// extra field that has a setting of its own.
    pub fn build(self) -> Result<ChatOpenAi, OpenAiError> {
        if self.settings.model.is_empty() {
            return Err(OpenAiError::NoModel);
        }
        if let Some(mistake) = self.mistake {
            return Err(mistake);
        }
        self.settings.check()?;
        for name in self.settings.extra.0.keys() {
            ChatRequest::check_extra(name)?;
        }
        let base_url = match self.base_url {
            Some(url) => url,
            None => from_environment(BASE_URL, |reason| OpenAiError::InvalidBaseUrl { reason })?.unwrap_or_else(|| DEFAULT_BASE_URL.into()),
        };
        let key = match self.api_key {
            Some(key) => Some(key),
            None => from_environment(API_KEY, |_| OpenAiError::InvalidApiKey)?,
        };
        let key = key.as_deref().map(Secret::new).transpose()?;
        let client = self.connection.client(Endpoint::parse(&base_url)?, key)?;
        Ok(ChatOpenAi::new(client, self.settings, self.callbacks))
    }

    /// The value, or none where it cannot be sent, which [`build`](Self::build) will tell.
    fn checked<T>(&mut self, value: Result<T, OpenAiError>) -> Option<T> {
        value.map_err(|mistake| self.mistake.get_or_insert(mistake)).ok()
    }
}

/// A variable of the environment; one that is empty counts as not set.
fn from_environment(name: &str, not_unicode: impl FnOnce(&'static str) -> OpenAiError) -> Result<Option<String>, OpenAiError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(not_unicode("it is not Unicode")),
    }
}

impl fmt::Debug for ChatOpenAiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the key nor the URL, in which people put keys.
        f.debug_struct("ChatOpenAiBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
