//! The two requests that a chat model makes.

use core::fmt;

use crate::{
    endpoint::Endpoint,
    error::OpenAiError,
    error_body::ErrorBody,
    limits::Limits,
    secret::Secret,
    socket::Connector,
    sse::ChunkStream,
    tls::Roots,
    transport::{Accept, post_json},
    wire::{ChatRequest, Chunk},
};

const CHAT_COMPLETIONS: &str = "chat/completions";

/// A server, and how to talk to it. It holds no connection: each request opens its own.
#[derive(Clone)]
pub(crate) struct Client {
    connector: Connector,
    key: Option<Secret>,
    limits: Limits,
}

impl Client {
    /// `roots` are of use for `https` only.
    pub(crate) fn new(endpoint: Endpoint, key: Option<Secret>, roots: Roots, limits: Limits) -> Result<Self, OpenAiError> {
        Ok(Self {
            connector: Connector::new(endpoint, roots)?,
            key,
            limits,
        })
    }

    /// Asks for a whole answer; `request.stream` must not be set.
    ///
    /// The answer has one choice at least. Cancel safe: dropping the future
    /// closes the connection, by which servers stop generating.
    pub(crate) async fn complete(&self, request: &ChatRequest<'_>) -> Result<Chunk, OpenAiError> {
        debug_assert!(!request.stream, "a stream is no whole answer");
        let mut body = self.post(request, Accept::Json).await?;
        let json = body.collect(self.limits.body).await?;
        let answer = Chunk::parse(&json).map_err(OpenAiError::body)?;
        if answer.is_error() {
            return Err(ErrorBody::parse(&json, self.key.as_ref()).into_reported());
        }
        if answer.choices.is_empty() {
            return Err(OpenAiError::NoChoices);
        }
        Ok(answer)
    }

    /// Asks for a stream; `request.stream` must be set.
    ///
    /// Cancel safe: dropping the future or the stream closes the connection.
    pub(crate) async fn stream(&self, request: &ChatRequest<'_>) -> Result<ChunkStream, OpenAiError> {
        debug_assert!(request.stream, "the server would not stream");
        let body = self.post(request, Accept::EventStream).await?;
        Ok(ChunkStream::new(body, self.key.clone(), &self.limits))
    }

    async fn post(&self, request: &ChatRequest<'_>, accept: Accept) -> Result<crate::body::Body, OpenAiError> {
        let key = self.key.as_ref();
        post_json(&self.connector, CHAT_COMPLETIONS, key, request.to_json()?, accept).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", self.connector.endpoint())
            .field("key", &self.key)
            .field("limits", &self.limits)
            .finish()
    }
}
