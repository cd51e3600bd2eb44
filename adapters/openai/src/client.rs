//! The two requests of a chat model.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use rappel_core::LlmResult;
use rappel_core::runtime::BoxFuture;

use crate::clock::{Clock, Due};
use crate::convert::{self, LlmChunks};
use crate::endpoint::Endpoint;
use crate::error::OpenAiError;
use crate::exchange::{Accept, Accepted, Exchange};
use crate::limits::{Limits, Phase};
use crate::response::{Leftovers, ResponseBody};
use crate::retry::Retries;
use crate::secret::{Secret, Secrets};
use crate::sse::ChunkStream;
use crate::transport::Transport;
use crate::wire::ChatRequest;

const CHAT_COMPLETIONS: &str = "chat/completions";

/// A server, and the settings for talking to it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Option<Secret>,
    pub(crate) secrets: Secrets,
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
    /// Cancel safe: dropping the future closes the connection, and servers then stop generating.
    ///
    /// # Errors
    /// Also if the answer has no choices.
    pub(crate) async fn complete(
        &self,
        request: &ChatRequest<'_>,
        due: Option<Due>,
    ) -> Result<LlmResult, OpenAiError> {
        debug_assert!(!request.stream, "a whole answer must not be streamed");
        let response = self.post(request, Accept::Json, self.limits.body, due).await?;
        convert::whole(LlmChunks::new(self.chunks(response, true))).await
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
        let is_json = response.is_json;
        let mut chunks = self.chunks(response, false);
        if is_json {
            // It is probably an error in place of a stream.
            chunks.peek().await?;
        }
        Ok(chunks)
    }

    fn chunks(&self, response: Accepted, whole: bool) -> ChunkStream {
        ChunkStream::new(response.body, self.secrets.clone(), &self.limits, whole)
            .with_length(response.has_length)
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
            secrets: &self.secrets,
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
