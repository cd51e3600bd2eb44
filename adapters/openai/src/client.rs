//! The two requests of a chat model.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use rappel_core::runtime::BoxFuture;

use crate::clock::{Clock, Due};
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::error_body::ErrorBody;
use crate::exchange::{Accept, Exchange};
use crate::limits::{Limits, Phase};
use crate::response::{Leftovers, ResponseBody};
use crate::retry::Retries;
use crate::secret::Secret;
use crate::sse::ChunkStream;
use crate::transport::Transport;
use crate::wire::{ChatRequest, Chunk};

const CHAT_COMPLETIONS: &str = "chat/completions";

/// A server, and the settings for talking to it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Option<Secret>,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) retries: Retries,
    pub(crate) leftovers: Arc<Leftovers>,
}

impl Client {
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
    /// The answer has at least one choice. Cancel safe: dropping the future closes the connection,
    /// and servers then stop generating.
    pub(crate) async fn complete(
        &self,
        request: &ChatRequest<'_>,
        due: Option<Due>,
    ) -> Result<Chunk, OpenAiError> {
        debug_assert!(!request.stream, "a whole answer must not be streamed");
        let mut body = self.post(request, Accept::Json, self.limits.body, due).await?;
        let json = body.collect().await?;
        let json = match &self.key {
            Some(key) => key.redact_answer(&json),
            None => (&*json).into(),
        };
        let answer = Chunk::parse(&json).map_err(OpenAiError::body)?;
        if answer.is_error() {
            return Err(ErrorBody::parse(&json, self.key.as_ref()).into_reported());
        }
        if answer.choices.is_empty() {
            return Err(OpenAiError::NoChoices);
        }
        Ok(answer)
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
        let body = self.post(request, Accept::EventStream, self.limits.stream, due).await?;
        let chunks = ChunkStream::new(body, self.key.clone(), &self.limits);
        Ok(chunks.when_over(ResponseBody::leave))
    }

    async fn post(
        &self,
        request: &ChatRequest<'_>,
        accept: Accept,
        limit: usize,
        due: Option<Due>,
    ) -> Result<ResponseBody, OpenAiError> {
        let exchange = Exchange {
            transport: &*self.transport,
            endpoint: &self.endpoint,
            key: self.key.as_ref(),
            clock: &self.clock,
            leftovers: &self.leftovers,
            total: due,
        };
        exchange.post_json(CHAT_COMPLETIONS, request.to_json()?, accept, limit).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("key", &self.key)
            .field("limits", &self.limits)
            .field("times", &self.clock)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}
