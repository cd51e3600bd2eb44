//! The settings of a chat model.

mod connection;

use std::env;
use std::fmt;

use rappel_core::{CallbackManager, Value};
use serde::Serialize;

use crate::chat::ChatOpenAi;
use crate::connection::{ConnectionSettings, provider};
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::responses::Api;
use crate::secret::{KeyHeader, Secret};
use crate::settings::{SendReasoning, Settings, StreamOptions, Tools, object, value};
use crate::wire::ChatRequest;

const BASE_URL: &str = "OPENAI_BASE_URL";
const API_KEY: &str = "OPENAI_API_KEY";
const AZURE_API_KEY: &str = "AZURE_OPENAI_API_KEY";
const DEFAULT_BASE_URL: &str = "https://api.openai.com/v1";

/// Builds a [`ChatOpenAi`]. It is made by [`ChatOpenAi::builder`].
///
/// [`build`](Self::build) returns an error if a setting is invalid.
#[derive(Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ChatOpenAiBuilder {
    settings: Settings,
    base_url: Option<String>,
    api_key: Option<String>,
    connection: ConnectionSettings,
    callbacks: Option<CallbackManager>,
    /// The first setting that cannot be sent.
    mistake: Option<OpenAiError>,
}

impl ChatOpenAi {
    /// A builder without a model.
    pub fn builder() -> ChatOpenAiBuilder {
        ChatOpenAiBuilder::default()
    }

    /// A builder for a deployment of Azure OpenAI: `https://my-resource.openai.azure.com`, the
    /// name of the deployment, and the `api-version`, such as `2024-10-21`.
    ///
    /// The key is sent as `api-key`. Its default is the environment's `AZURE_OPENAI_API_KEY`. The
    /// model's name is that of the deployment, unless another one is set.
    pub fn azure(
        endpoint: impl AsRef<str>,
        deployment: impl Into<String>,
        api_version: impl Into<String>,
    ) -> ChatOpenAiBuilder {
        let deployment = deployment.into();
        let endpoint = endpoint.as_ref().trim_end_matches('/');
        let endpoint = endpoint.strip_suffix("/openai").unwrap_or(endpoint);
        let mut builder = ChatOpenAiBuilder::default()
            .base_url(format!("{endpoint}/openai/deployments/{deployment}"))
            .model(deployment)
            .query("api-version", api_version)
            .provider("azure.ai.openai");
        builder.connection.key_header = KeyHeader::ApiKey;
        builder
    }
}

impl ChatOpenAiBuilder {
    /// The model's name on the server. It is required.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.settings.model = model.into();
        self
    }

    /// The server's address, including the version: `http://localhost:8000/v1`. Default: the
    /// environment's `OPENAI_BASE_URL`, or else OpenAI's.
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// The API key. Default: the environment's `OPENAI_API_KEY`, or else no key is sent.
    ///
    /// It is never in a `Debug` output, an error or an event. If a server repeats it, it is
    /// replaced in error messages, and in answers if it has at least 16 characters.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// The maximum number of tokens in an answer. OpenAI's reasoning models take
    /// [`max_completion_tokens`](Self::max_completion_tokens) instead.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.settings.max_tokens = Some(tokens);
        self
    }

    /// The maximum number of tokens in an answer, including those of its reasoning.
    pub fn max_completion_tokens(mut self, tokens: u32) -> Self {
        self.settings.max_completion_tokens = Some(tokens);
        self
    }

    /// The sampling temperature: from 0 to 2 with OpenAI.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.settings.temperature = Some(temperature);
        self
    }

    /// The probability mass to sample from: at most 1.
    pub fn top_p(mut self, top_p: f64) -> Self {
        self.settings.top_p = Some(top_p);
        self
    }

    /// The texts that stop an answer.
    pub fn stop<T: Into<String>>(mut self, texts: impl IntoIterator<Item = T>) -> Self {
        self.settings.stop = texts.into_iter().map(Into::into).collect();
        self
    }

    /// The seed of the sampling.
    pub fn seed(mut self, seed: i64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// The number of answers: at most 128. Each answer is a generation of the result.
    pub fn n(mut self, answers: u32) -> Self {
        self.settings.n = Some(answers);
        self
    }

    /// The tools that the model may call. Each is a [`Tool`](crate::Tool), or any type that
    /// serializes to the JSON of a tool, such as the types of `async-openai`.
    pub fn tools<T: Serialize>(mut self, tools: impl IntoIterator<Item = T>) -> Self {
        let tools: Result<_, _> = tools.into_iter().map(|tool| object("tools", tool)).collect();
        if let Some(tools) = self.checked(tools) {
            self.settings.tools = Tools(tools);
        }
        self
    }

    /// Whether the model calls a tool: a [`ToolChoice`](crate::ToolChoice), or any type that
    /// serializes to the JSON of one.
    pub fn tool_choice(mut self, choice: impl Serialize) -> Self {
        self.settings.tool_choice = self.checked(value("tool_choice", choice));
        self
    }

    /// The format of an answer: a [`ResponseFormat`](crate::ResponseFormat), or any type that
    /// serializes to the JSON of one.
    pub fn response_format(mut self, format: impl Serialize) -> Self {
        self.settings.response_format = self.checked(object("response_format", format));
        self
    }

    /// The end user, for the provider's records. It is not in any event.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.settings.user = Some(user.into());
        self
    }

    /// Any other field of the request: `reasoning_effort`, `logprobs`, `parallel_tool_calls`,
    /// `top_k`. Its value is sent to the server only: it is not in any event or `Debug` output.
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.extra.0.insert(name.into(), value.into());
        self
    }

    /// Whether [`generate`](rappel_core::ChatModel::generate) and
    /// [`invoke`](rappel_core::ChatModelExt::invoke) stream the answer, so that handlers get its
    /// tokens. Default: `false`.
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.settings.streaming = streaming;
        self
    }

    /// Whether a stream ends with its usage. Default: `true`. Some servers refuse the request if it
    /// asks for the usage.
    pub fn stream_usage(mut self, usage: bool) -> Self {
        self.settings.stream_options =
            if usage { StreamOptions::Usage } else { StreamOptions::None };
        self
    }

    /// The `stream_options` of streamed requests: a JSON object. It replaces the one that
    /// [`stream_usage`](Self::stream_usage) makes.
    pub fn stream_options(mut self, options: impl Serialize) -> Self {
        if let Some(options) = self.checked(object("stream_options", options)) {
            self.settings.stream_options = StreamOptions::Own(options);
        }
        self
    }

    /// The model's own callbacks. They apply to this model only.
    ///
    /// After a call was dropped, `flush` waits until its handlers have handled the error. Use the
    /// manager that the call was given, if there was one, or else this one.
    pub fn callbacks(mut self, callbacks: impl Into<CallbackManager>) -> Self {
        self.callbacks = Some(callbacks.into());
        self
    }

    /// The API of the server. Default: [`Api::ChatCompletions`]. The events, their order and the
    /// errors are the same: see [`Api`] for what is not.
    ///
    /// With [`Api::Responses`], `stop`, `seed` and `n` are errors. On Azure, use
    /// [`base_url`](Self::base_url) with `https://my-resource.openai.azure.com/openai/v1`, because
    /// Responses is not below a deployment.
    pub fn api(mut self, api: Api) -> Self {
        self.settings.api = api;
        self
    }

    /// Whether a model's reasoning goes back to the server with the next turn. Default:
    /// [`SendReasoning::Auto`].
    ///
    /// `Message::from(generation)` keeps it in [`Message::extra`](rappel_core::Message::extra).
    pub fn send_reasoning(mut self, send: SendReasoning) -> Self {
        self.settings.send_reasoning = send;
        self
    }

    /// Builds the model.
    ///
    /// # Errors
    /// An [`OpenAiError`] if there is no model, if the URL, the proxy, the key or a certificate is
    /// invalid, if a setting has a value that cannot be sent, or if an extra field has a setting of
    /// its own.
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
            None => from_environment(BASE_URL, |reason| OpenAiError::InvalidBaseUrl { reason })?
                .unwrap_or_else(|| DEFAULT_BASE_URL.into()),
        };
        let key = match self.api_key {
            Some(key) => Some(key),
            None => {
                let name = match self.connection.key_header {
                    KeyHeader::Bearer => API_KEY,
                    KeyHeader::ApiKey => AZURE_API_KEY,
                };
                from_environment(name, |_| OpenAiError::InvalidApiKey)?
            }
        };
        let key = key.as_deref().map(Secret::new).transpose()?;
        let endpoint = Endpoint::parse(&base_url)?;
        let mut settings = self.settings;
        let is_openai = endpoint.host() == "api.openai.com"
            || provider(endpoint.host()) == "azure.ai.openai"
            || self.connection.key_header == KeyHeader::ApiKey;
        if is_openai
            && settings.api == Api::ChatCompletions
            && settings.send_reasoning == SendReasoning::Auto
        {
            settings.send_reasoning = SendReasoning::Never;
        }
        let client = self.connection.client(endpoint, key)?;
        Ok(ChatOpenAi::new(client, settings, self.callbacks))
    }

    /// The value, or `None` if it cannot be sent. [`build`](Self::build) returns the first error.
    fn checked<T>(&mut self, value: Result<T, OpenAiError>) -> Option<T> {
        value.map_err(|mistake| self.mistake.get_or_insert(mistake)).ok()
    }
}

/// A variable of the environment. An empty one counts as not set.
fn from_environment(
    name: &str,
    not_unicode: impl FnOnce(&'static str) -> OpenAiError,
) -> Result<Option<String>, OpenAiError> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(not_unicode("it is not Unicode")),
    }
}

impl fmt::Debug for ChatOpenAiBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the key nor the URL, which may contain a key.
        f.debug_struct("ChatOpenAiBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
