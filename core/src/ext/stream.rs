//! Streams that are runs.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::FusedStream;
use pin_project_lite::pin_project;
use serde_core::Serialize;
use serde_json::Value;

use super::instrument::{Work, json};
use super::require_last::RequireLast;
use crate::model::error::RunError;
use crate::model::event::{ChainEnd, Event, EventKind, LlmEnd, LlmNewToken, error_event};
use crate::model::result::LlmChunk;
use crate::model::token::Token;
use crate::run::{ChainRun, End, LlmRun, RunHandle};
use crate::util::drop_quietly;

/// An item of a model's stream: the text of a token, and perhaps more.
///
/// It is implemented for [`LlmChunk`] and for text. Map items of another crate's type to an
/// [`LlmChunk`] first.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a chunk of a model's stream",
    note = "map the stream's items first: `stream.map(|item| item.map(|item| LlmChunk::new(..)))`"
)]
pub trait ToLlmChunk {
    /// The chunk that handlers receive.
    fn to_llm_chunk(&self) -> LlmChunk;

    /// The event of the chunk.
    fn to_token(&self) -> LlmNewToken {
        self.to_llm_chunk().into()
    }
}

impl ToLlmChunk for LlmChunk {
    fn to_llm_chunk(&self) -> LlmChunk {
        self.clone()
    }

    fn to_token(&self) -> LlmNewToken {
        match self.is_plain_text() {
            true => LlmNewToken::new(self.text.clone()),
            false => self.clone().into(),
        }
    }
}

macro_rules! text_chunk {
    ($($text:ty),+) => {$(
        impl ToLlmChunk for $text {
            fn to_llm_chunk(&self) -> LlmChunk {
                LlmChunk::new(&**self)
            }

            fn to_token(&self) -> LlmNewToken {
                LlmNewToken::new(&**self)
            }
        }
    )+};
}
text_chunk!(&str, alloc::string::String, Token);

/// Makes a stream a run.
pub trait WithCallbacks: Stream + Sized {
    /// The same stream as the output of a model's run. Each chunk's event is handled *before* the
    /// chunk is handed on. The stream's end or error ends the run.
    ///
    /// The end's result is what the chunks make together. If the client ends a stream that broke
    /// off without an error, put [`require_last`](Self::require_last) before it. Dropped before its
    /// end, the stream ends the run as cancelled, with the partial result. If a handler with
    /// `raise_error` fails, the run ends, and then the stream with [`RunError::Stopped`]. If the run
    /// is closed by its parent or by a shutdown, the stream drops what it wraps and ends with
    /// [`RunError::Cancelled`].
    ///
    /// ```
    /// # use rappel_core::{CallbackManager, LlmStart, RunError, WithCallbacks};
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
        C: ToLlmChunk,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        CallbackStream::new(self, run.into(), Emitter::Tokens(C::to_token, false))
    }

    /// The same stream. It fails if it ends and `is_last` has been true for none of its items.
    ///
    /// Many clients end a stream without an error if the server closes the connection in the middle
    /// of an answer. The answer would look complete. `is_last` recognizes the item that only a
    /// complete answer has: one with a finish reason, or the event `response.completed`. Items after
    /// it are handed on too. The error is of [type](RunError::error_type) `response_cut`.
    ///
    /// ```
    /// # use rappel_core::{LlmChunk, LlmResult, LlmRun, RunError, WithCallbacks};
    /// # use futures_util::{Stream, TryStreamExt};
    /// # async fn example(
    /// #     run: LlmRun,
    /// #     chunks: impl Stream<Item = Result<LlmChunk, std::io::Error>>,
    /// # ) -> Result<LlmResult, RunError> {
    /// let chunks = chunks.require_last(|chunk| chunk.finish_reason.is_some());
    /// let result: LlmResult = chunks.with_callbacks(run).try_collect().await?;
    /// # Ok(result)
    /// # }
    /// ```
    fn require_last<T, E, F>(self, is_last: F) -> RequireLast<Self, F>
    where
        Self: Stream<Item = Result<T, E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnMut(&T) -> bool,
    {
        RequireLast::new(self, is_last)
    }

    /// The same stream as the output of a chain. It is polled inside `run`, and ends it. The
    /// chain's outputs are the items. Texts that follow each other are joined. If all items are
    /// texts, the output is one text, and else a list. If a handler wants the chain's end, the
    /// items are kept until then.
    fn with_chain_callbacks<T, E>(self, run: ChainRun) -> CallbackStream<Self, T>
    where
        Self: Stream<Item = Result<T, E>>,
        T: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        CallbackStream::new(self, run.into(), Emitter::Outputs(json, Vec::new()))
    }
}

impl<S: Stream> WithCallbacks for S {}

pin_project! {
    /// A stream that is a run: see [`WithCallbacks`].
    ///
    /// It is fused. Dropping it ends its run, at any point.
    #[must_use = "streams do nothing unless they are polled; dropped, the run is cancelled"]
    pub struct CallbackStream<S, C> {
        #[pin]
        stream: Option<S>,
        stage: Stage,
        emitter: Emitter<C>,
        // The chunk whose event is in flight.
        next: Option<C>,
    }

    impl<S, C> PinnedDrop for CallbackStream<S, C> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let mut stream = this.stream;
            match this.stage {
                Stage::Open(work) => work.with(|| stream.set(None)),
                _ => stream.set(None),
            }
        }
    }
}

impl<S, C> CallbackStream<S, C> {
    fn new(stream: S, run: RunHandle, emitter: Emitter<C>) -> Self {
        Self { stream: Some(stream), stage: Stage::Open(Work::new(run)), emitter, next: None }
    }
}

enum Stage {
    Open(Work),
    /// The stream's error is handed on after the end.
    Ending(End, Option<RunError>),
    Done,
}

/// What handlers receive of the items.
enum Emitter<C> {
    /// A token each, and at the end what they make together, once the run knows that.
    Tokens(fn(&C) -> LlmNewToken, bool),
    /// At the end, all of them.
    Outputs(fn(&C) -> Value, Vec<Value>),
}

impl<C> Emitter<C> {
    fn emit(&mut self, work: &mut Work, item: &C) {
        match self {
            Self::Tokens(token, _) => {
                work.handle.start_send(EventKind::LlmNewToken, || token(item));
            }
            // They are kept for the end.
            Self::Outputs(..) if !work.run().is_enabled(EventKind::ChainEnd) => {}
            Self::Outputs(output, outputs) => {
                // The item writes itself, and may panic.
                match (outputs.last_mut(), work.with(|| output(item))) {
                    (Some(Value::String(text)), Value::String(more)) => text.push_str(&more),
                    (_, output) => outputs.push(output),
                }
            }
        }
    }

    fn end(&mut self) -> Event {
        match self {
            Self::Tokens(..) => LlmEnd::of_tokens().into(),
            Self::Outputs(_, outputs) => {
                let outputs = match outputs.as_mut_slice() {
                    [Value::String(text)] => Value::String(core::mem::take(text)),
                    all => Value::Array(all.iter_mut().map(Value::take).collect()),
                };
                ChainEnd::new(outputs).into()
            }
        }
    }
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
            let work = match this.stage {
                Stage::Open(work) => work,
                Stage::Ending(end, error) => {
                    let outcome = ready!(Pin::new(end).poll(cx));
                    let error = error.take();
                    *this.stage = Stage::Done;
                    // The stream's own error comes before that of a handler.
                    return Poll::Ready(match error {
                        Some(error) => {
                            // A handler's error may panic when it is dropped.
                            drop_quietly(outcome);
                            Some(Err(error))
                        }
                        None => outcome.err().map(|error| Err(error.into())),
                    });
                }
                Stage::Done => return Poll::Ready(None),
            };
            let mut stream = this.stream.as_mut();
            if work.closing.poll(cx).is_ready() {
                work.with(|| stream.set(None));
                *this.stage = Stage::Done;
                return Poll::Ready(Some(Err(RunError::Cancelled)));
            }
            if let Emitter::Tokens(_, known @ false) = this.emitter {
                ready!(work.run().poll_keep_result(cx));
                *known = true;
            }
            let item = match ready!(work.handle.poll_sent(false, cx)) {
                // Handlers get the end of a stopped run before its caller goes on.
                Err(error) => Some(Err(error.into())),
                Ok(()) => {
                    if let Some(chunk) = this.next.take() {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    let item = ready!(work.with(|| match stream.as_mut().as_pin_mut() {
                        Some(stream) => stream.poll_next(cx),
                        None => Poll::Ready(None),
                    }));
                    item.map(|item| item.map_err(RunError::failed))
                }
            };
            let (event, error) = match item {
                Some(Ok(chunk)) => {
                    this.emitter.emit(work, &chunk);
                    *this.next = Some(chunk);
                    continue;
                }
                Some(Err(error)) => {
                    (error_event(work.run().node.info.kind(), error.clone()), Some(error))
                }
                None => (this.emitter.end(), None),
            };
            work.with(|| stream.set(None));
            if let Stage::Open(work) = core::mem::replace(this.stage, Stage::Done) {
                *this.stage = Stage::Ending(work.handle.end(event), error);
            }
        }
    }
}

impl<S, C, E> FusedStream for CallbackStream<S, C>
where
    S: Stream<Item = Result<C, E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }
}

impl<S, C> fmt::Debug for CallbackStream<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = !matches!(self.stage, Stage::Open(_));
        f.debug_struct("CallbackStream").field("ended", &ended).finish_non_exhaustive()
    }
}
