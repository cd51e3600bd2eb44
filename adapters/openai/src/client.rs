//! The two requests of a chat model.

use core::fmt;
use core::time::Duration;
use std::borrow::Cow;
use std::sync::Arc;

use rappel_core::runtime::BoxFuture;
use rappel_core::{CallOptions, ChatModelStart, LlmResult};

use crate::clock::{Clock, Due};
use crate::convert::{self, LlmChunks};
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::exchange::{Accept, Accepted, Exchange};
use crate::headers::Headers;
use crate::limits::{Limits, Phase};
use crate::memory::Memory;
use crate::response::{Leftovers, ResponseBody};
use crate::responses::Api;
use crate::retry::Retries;
use crate::secret::{KeyHeader, Secret, Secrets};
use crate::sse::ChunkStream;
use crate::transport::Transport;
use crate::wire::ChatRequest;

/// A server, and the settings for talking to it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Option<Secret>,
    pub(crate) key_header: KeyHeader,
    pub(crate) headers: Headers,
    /// The name of the provider, for telemetry.
    pub(crate) provider: Cow<'static, str>,
    pub(crate) secrets: Secrets,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) retries: Retries,
    pub(crate) leftovers: Arc<Leftovers>,
}

impl Client {
    /// The client with the options of a call, or `None` if the options have none for it.
    ///
    /// # Errors
    /// If a header cannot be sent.
    pub(crate) fn with(&self, options: &CallOptions) -> Result<Option<Self>, OpenAiError> {
        let times = [options.first_byte_timeout, options.chunk_timeout, options.total_timeout];
        if options.headers.is_empty() && times.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut client = self.clone();
        let mut own = Headers::default();
        for (name, value) in &options.headers {
            client.headers.insert(name, value)?;
            own.insert(name, value)?;
        }
        client.secrets = self.secrets.with(own.secrets());
        client.clock = self.clock.with_times(|times| {
            times.first_byte = options.first_byte_timeout.or(times.first_byte);
            times.chunk = options.chunk_timeout.or(times.chunk);
            times.total = options.total_timeout.or(times.total);
        });
        Ok(Some(client))
    }

    /// Says in a start which provider and server it is.
    pub(crate) fn name_in(&self, start: ChatModelStart) -> ChatModelStart {
        start
            .with_provider(self.provider.clone())
            .with_server(self.endpoint.host(), self.endpoint.port())
    }

    /// Returns `true` if a failed request may be sent again.
    pub(crate) fn retries(&self) -> bool {
        self.retries.most > 0
    }

    /// The deadline of a call that begins now, with all its attempts.
    pub(crate) fn due(&self) -> Option<Due> {
        self.clock.due(Phase::Total, self.clock.now())
    }

    /// The wait before the next attempt, or `None` if there is none. Attempts count from 1.
    pub(crate) fn retry(
        &self,
        attempt: u32,
        failure: &OpenAiError,
        due: Option<Due>,
    ) -> Option<Duration> {
        self.retries.wait(attempt, failure).filter(|wait| self.clock.allows(*wait, due))
    }

    pub(crate) fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.clock.sleep(wait)
    }

    /// Requests a whole answer, until `due`. `request.stream` must not be set.
    ///
    /// Cancel safe: dropping the future closes the connection, and servers then stop generating.
    ///
    /// # Errors
    /// Also if the answer has no choices.
    pub(crate) async fn complete(
        &self,
        request: &ChatRequest<'_>,
        memory: Arc<Memory>,
        due: Option<Due>,
    ) -> Result<LlmResult, OpenAiError> {
        debug_assert!(!request.stream, "a whole answer must not be streamed");
        let response = self.post(request, Accept::Json, self.limits.body, due).await?;
        let chunks = LlmChunks::new(self.chunks(response, request.api, true));
        convert::whole(chunks.with_memory(memory).with_secrets(self.secrets.clone())).await
    }

    /// Requests a stream, which ends at `due` at the latest. `request.stream` must be set.
    ///
    /// Cancel safe: dropping the future or the stream closes the connection.
    pub(crate) async fn stream(
        &self,
        request: &ChatRequest<'_>,
        due: Option<Due>,
    ) -> Result<ChunkStream, OpenAiError> {
        debug_assert!(request.stream, "the server would not stream");
        let response = self.post(request, Accept::EventStream, self.limits.stream, due).await?;
        let json_type = response.json_type.clone();
        let mut chunks = self.chunks(response, request.api, false);
        if let Some(found) = json_type {
            // It is probably an error in place of a stream.
            chunks.peek().await.map_err(|error| match error {
                // Neither a stream nor an answer as JSON.
                OpenAiError::Cut { source: None } | OpenAiError::InvalidBody { .. } => {
                    OpenAiError::ContentType { expected: Accept::EventStream.media_type(), found }
                }
                error => error,
            })?;
        }
        Ok(chunks)
    }

    fn chunks(&self, response: Accepted, api: Api, whole: bool) -> ChunkStream {
        ChunkStream::new(response.body, self.secrets.clone(), &self.limits, whole)
            .with_api(api)
            .with_length(response.has_length)
            .with_server(response.server)
            .when_over(ResponseBody::leave)
    }

    async fn post(
        &self,
        request: &ChatRequest<'_>,
        accept: Accept,
        limit: usize,
        due: Option<Due>,
    ) -> Result<Accepted, OpenAiError> {
        let exchange = Exchange {
            transport: &*self.transport,
            endpoint: &self.endpoint,
            key: self.key.as_ref(),
            key_header: self.key_header,
            headers: &self.headers,
            secrets: &self.secrets,
            clock: &self.clock,
            leftovers: &self.leftovers,
            total: due,
        };
        exchange.post_json(request.api.path(), request.to_json()?, accept, limit).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("key", &self.key)
            .field("headers", &self.headers)
            .field("limits", &self.limits)
            .field("times", &self.clock)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
