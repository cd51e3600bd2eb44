//! A stream that is requested again if it breaks before its content.

use core::pin::Pin;
use core::task::{Context, Poll, ready};
use std::sync::Arc;

use futures_core::Stream;
use futures_util::{StreamExt, TryStreamExt};
use rappel_core::runtime::BoxFuture;
use rappel_core::{LlmChunk, LlmRun, LlmStream, Message, RunError, WithCallbacks};

use crate::attempts::{Attempts, fail, typed};
use crate::call::Call;
use crate::convert::LlmChunks;
use crate::sse::ChunkStream;

/// A request for a stream, which can be sent again.
pub(crate) struct Opening {
    call: Arc<Call>,
    messages: Vec<Message>,
    attempts: Attempts,
}

impl Opening {
    pub(crate) fn new(call: Arc<Call>, messages: Vec<Message>) -> Self {
        let attempts = Attempts::new(&call.client);
        Self { call, messages, attempts }
    }

    /// Opens the stream. Its chunks are emitted on `run`.
    pub(crate) async fn open(mut self, run: LlmRun) -> Result<LlmStream, RunError> {
        let (run, chunks) = self.connect(run).await?;
        if !self.call.client.retries() {
            return Ok(rest(run, chunks));
        }
        let first = Box::pin(self.next(run, chunks));
        Ok(Box::pin(Retrying { stage: Stage::Opening(first) }))
    }

    /// Sends the request until a response begins.
    async fn connect(
        &mut self,
        mut run: LlmRun,
    ) -> Result<(LlmRun, LlmChunks<ChunkStream>), RunError> {
        loop {
            let request = match self.call.request(&self.messages, true) {
                Ok(request) => request,
                Err(error) => return Err(fail(run, error).await),
            };
            let attempt = self.call.client.stream(&request, self.attempts.due());
            match run.until_closed(attempt).await? {
                Ok(chunks) => {
                    let memory = self.call.memory.clone();
                    let secrets = self.call.client.secrets.clone();
                    let chunks = LlmChunks::new(chunks).with_memory(memory).with_secrets(secrets);
                    return Ok((run, chunks));
                }
                Err(error) if self.call.refuses_stream_options(&request, &error) => {}
                Err(error) => run = self.attempts.next(&self.call.client, run, error).await?,
            }
        }
    }

    /// Goes on until the next chunk, as long as no chunk has content.
    async fn next(mut self, mut run: LlmRun, mut chunks: LlmChunks<ChunkStream>) -> Stage {
        loop {
            let next = match run.until_closed(chunks.next()).await {
                Ok(next) => next,
                Err(error) => return Stage::Failed(error),
            };
            match next {
                Some(Ok(chunk)) if has_content(&chunk) => {
                    chunks.put_back(chunk);
                    return Stage::Open(rest(run, chunks));
                }
                Some(Ok(chunk)) => {
                    if let Err(error) = run.on_llm_new_token(chunk.clone()).await {
                        return Stage::Failed(error.into());
                    }
                    return Stage::Chunk(Box::new((chunk, self, run, chunks)));
                }
                Some(Err(error)) => {
                    // The socket is closed before the wait.
                    drop(chunks);
                    let again = async {
                        let run = self.attempts.next(&self.call.client, run, error).await?;
                        self.connect(run).await
                    };
                    match again.await {
                        Ok(opened) => (run, chunks) = opened,
                        Err(error) => return Stage::Failed(error),
                    }
                }
                None => return Stage::Open(rest(run, chunks)),
            }
        }
    }
}

fn has_content(chunk: &LlmChunk) -> bool {
    !chunk.text.is_empty()
        || !chunk.reasoning.is_empty()
        || !chunk.refusal.is_empty()
        || !chunk.tool_calls.is_empty()
        || chunk.finish_reason.is_some()
}

fn rest(run: LlmRun, chunks: LlmChunks<ChunkStream>) -> LlmStream {
    Box::pin(chunks.map_err(typed).with_callbacks(run))
}

struct Retrying {
    stage: Stage,
}

enum Stage {
    Opening(BoxFuture<'static, Stage>),
    /// A chunk without content.
    Chunk(Box<(LlmChunk, Opening, LlmRun, LlmChunks<ChunkStream>)>),
    Open(LlmStream),
    Failed(RunError),
    Done,
}

impl Stream for Retrying {
    type Item = Result<LlmChunk, RunError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let (next, item) = match core::mem::replace(&mut this.stage, Stage::Done) {
                Stage::Opening(mut opening) => match opening.as_mut().poll(cx) {
                    Poll::Ready(stage) => (stage, None),
                    Poll::Pending => {
                        this.stage = Stage::Opening(opening);
                        return Poll::Pending;
                    }
                },
                Stage::Chunk(parts) => {
                    let (chunk, opening, run, chunks) = *parts;
                    (Stage::Opening(Box::pin(opening.next(run, chunks))), Some(Ok(chunk)))
                }
                Stage::Failed(error) => (Stage::Done, Some(Err(error))),
                Stage::Done => return Poll::Ready(None),
                Stage::Open(mut stream) => {
                    let item = stream.as_mut().poll_next(cx);
                    this.stage = Stage::Open(stream);
                    return Poll::Ready(ready!(item));
                }
            };
            this.stage = next;
            if let Some(item) = item {
                return Poll::Ready(Some(item));
            }
        }
    }
}
