//! Wrapping a model's stream.

use alloc::boxed::Box;
use core::error::Error;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::FusedStream;
use pin_project_lite::pin_project;

use crate::error::RunError;
use crate::event::{LlmEnd, LlmError, LlmNewToken};
use crate::result::LlmChunk;
use crate::runs::LlmRun;
use crate::scope::OwnedEmit;
use crate::token::Token;

/// What a model's stream is made of: something that has a token's text, and perhaps more.
///
/// It is implemented for [`LlmChunk`] and for text. Chunks of a type of somebody else's are mapped to an [`LlmChunk`] first.
pub trait AsLlmChunk {
    /// The chunk that the handlers are told of.
    fn as_llm_chunk(&self) -> LlmChunk;

    /// The event of it.
    fn as_token(&self) -> LlmNewToken {
        self.as_llm_chunk().into()
    }
}

impl AsLlmChunk for LlmChunk {
    fn as_llm_chunk(&self) -> LlmChunk {
        self.clone()
    }
}

macro_rules! text_chunk {
    ($($text:ty),+) => {$(
        impl AsLlmChunk for $text {
            fn as_llm_chunk(&self) -> LlmChunk {
                LlmChunk::new(&**self)
            }

            fn as_token(&self) -> LlmNewToken {
                LlmNewToken::new(&**self)
            }
        }
    )+};
}
text_chunk!(&str, alloc::string::String, Token);

/// Wraps streams of chunks, so that handlers hear of them.
pub trait WithCallbacks: Stream + Sized {
    /// The same stream, which tells the handlers of `run` of every chunk *before* it hands it on, and of the stream's end or error.
    ///
    /// The end's result is what the chunks make together. Dropped before its end, the stream ends the run as cancelled, with the partial
    /// result. A handler that was registered with `raise_error` and fails ends the stream with [`RunError::Stopped`].
    ///
    /// ```
    /// # use rappel_core::{CallbackManager, IntoCallbacks, LlmStart, RunError, WithCallbacks};
    /// # use futures_util::{StreamExt, stream};
    /// # async fn example(callbacks: CallbackManager) -> Result<(), RunError> {
    /// let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
    /// let tokens = stream::iter(["Why", " not", "?"]).map(Ok::<_, std::io::Error>);
    /// let mut tokens = tokens.with_callbacks(run);
    /// while let Some(token) = tokens.next().await {
    ///     print!("{}", token?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn with_callbacks<C, E>(self, run: LlmRun) -> CallbackStream<Self, C>
    where
        Self: Stream<Item = Result<C, E>>,
        C: AsLlmChunk,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        CallbackStream {
            stream: self,
            emit: Some(run.into_emit()),
            next: Next::Poll,
        }
    }
}

impl<S: Stream> WithCallbacks for S {}

pin_project! {
    /// A stream whose chunks handlers hear of: what [`with_callbacks`](WithCallbacks::with_callbacks) makes.
    ///
    /// It is fused. Dropping it is safe at any point, and ends its run.
    #[must_use = "streams do nothing unless they are polled; dropped, the run is cancelled"]
    pub struct CallbackStream<S, C> {
        #[pin]
        stream: S,
        // Absent once the run has ended.
        emit: Option<OwnedEmit>,
        next: Next<C>,
    }
}

/// What comes once the event in flight is handled.
enum Next<C> {
    /// Ask the stream.
    Poll,
    /// Hand on this chunk.
    Chunk(C),
    /// Hand on this error, and be done.
    Error(RunError),
    /// Be done.
    Done,
}

impl<S, C, E> Stream for CallbackStream<S, C>
where
    S: Stream<Item = Result<C, E>>,
    C: AsLlmChunk,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    type Item = Result<C, RunError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            let Some(emit) = this.emit.as_mut() else { return Poll::Ready(None) };
            let outcome = ready!(emit.poll_said(cx));
            let next = core::mem::replace(this.next, Next::Poll);
            if let (Err(error), Next::Poll | Next::Chunk(_)) | (Err(error), Next::Done) = (outcome, &next) {
                // Giving the run up says by whom it was stopped; one that has ended already is only let go.
                *this.emit = None;
                return Poll::Ready(Some(Err(error.into())));
            }
            match next {
                Next::Poll => {}
                Next::Chunk(chunk) => return Poll::Ready(Some(Ok(chunk))),
                Next::Error(error) => {
                    *this.emit = None;
                    return Poll::Ready(Some(Err(error)));
                }
                Next::Done => {
                    *this.emit = None;
                    return Poll::Ready(None);
                }
            }
            *this.next = match ready!(this.stream.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => {
                    emit.say(|_| chunk.as_token().into());
                    Next::Chunk(chunk)
                }
                Some(Err(error)) => {
                    let error = RunError::failed(error);
                    emit.say(|run| LlmError::new(error.clone(), run.take_partial()).into());
                    Next::Error(error)
                }
                None => {
                    emit.say(|run| LlmEnd::new(run.take_partial()).into());
                    Next::Done
                }
            };
        }
    }
}

impl<S, C, E> FusedStream for CallbackStream<S, C>
where
    S: Stream<Item = Result<C, E>>,
    C: AsLlmChunk,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn is_terminated(&self) -> bool {
        self.emit.is_none()
    }
}

impl<S, C> fmt::Debug for CallbackStream<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackStream")
            .field("ended", &self.emit.is_none())
            .finish_non_exhaustive()
    }
}
