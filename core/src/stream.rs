//! Wrapping a model's stream.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::FusedStream;
use pin_project_lite::pin_project;
use serde_core::Serialize;
use serde_json::Value;

use crate::context;
use crate::error::RunError;
use crate::event::{ChainEnd, EventKind, LlmEnd, LlmNewToken};
use crate::result::LlmChunk;
use crate::run_info::RunKind;
use crate::runs::{ChainRun, LlmRun};
use crate::scope::{OwnedEmit, error_event};
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
            telling: Telling::Tokens(C::as_token),
            next: Next::Poll,
        }
    }

    /// The same stream as the output of a chain: it is polled inside `run`, and ends it. The chain's outputs are the items: texts are joined,
    /// others make a list, which is kept until the end.
    fn with_chain_callbacks<T, E>(self, run: ChainRun) -> CallbackStream<Self, T>
    where
        Self: Stream<Item = Result<T, E>>,
        T: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        CallbackStream {
            stream: self,
            emit: Some(run.into_emit()),
            telling: Telling::Outputs(|item| serde_json::to_value(item).unwrap_or_default(), Vec::new()),
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
        telling: Telling<C>,
        next: Next<C>,
    }
}

/// What the handlers are told of the items.
enum Telling<C> {
    /// A token each, and at the end what they make together.
    Tokens(fn(&C) -> LlmNewToken),
    /// At the end, all of them.
    Outputs(fn(&C) -> Value, Vec<Value>),
}

impl<C> Telling<C> {
    fn item(&mut self, emit: &mut OwnedEmit, item: &C) {
        match self {
            Self::Tokens(token) => emit.tell(EventKind::LlmNewToken, || token(item)),
            Self::Outputs(output, outputs) => {
                let output = output(item);
                match (outputs.last_mut(), output) {
                    (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
                    (_, output) => outputs.push(output),
                }
            }
        }
    }

    fn end(&mut self, emit: &mut OwnedEmit) {
        match self {
            Self::Tokens(_) => emit.say(|| LlmEnd::of_tokens().into()),
            Self::Outputs(_, outputs) => {
                let outputs = match outputs.as_mut_slice() {
                    [Value::String(text)] => Value::String(core::mem::take(text)),
                    all => Value::Array(all.iter_mut().map(Value::take).collect()),
                };
                emit.say(|| ChainEnd::new(outputs).into());
            }
        }
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
            *this.next = match ready!(poll_inside(this.stream.as_mut(), emit, cx)) {
                Some(Ok(chunk)) => {
                    this.telling.item(emit, &chunk);
                    Next::Chunk(chunk)
                }
                Some(Err(error)) => {
                    let error = RunError::failed(error);
                    let kind = emit.scope().info().kind();
                    emit.say(|| error_event(kind, error.clone()));
                    Next::Error(error)
                }
                None => {
                    this.telling.end(emit);
                    Next::Done
                }
            };
        }
    }
}

/// Polls a chain's stream inside its run, so that what it calls hangs under that; a model's run has nothing under it.
fn poll_inside<S: Stream>(stream: Pin<&mut S>, emit: &OwnedEmit, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
    if emit.scope().info().kind() != RunKind::Chain {
        return stream.poll_next(cx);
    }
    let _inside = context::enter_run(emit.scope().facts());
    stream.poll_next(cx)
}

impl<S, C, E> FusedStream for CallbackStream<S, C>
where
    S: Stream<Item = Result<C, E>>,
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
