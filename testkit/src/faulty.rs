//! A chat model that fails where it is told.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_channel::oneshot;
use futures_util::{StreamExt, stream};
use rappel_core::{CallOptions, CallbackManager, ChatModel, IntoCallbacks, LlmChunk, LlmResult, LlmStream, Message, RunError, Timer};

use crate::model::{Chunks, Front};

/// A chat model that asks another one, and fails where it is told: one fault for each request, in order, and none when there are no more.
///
/// Its callbacks are its own, and the handlers hear of a fault as they hear of a server's: an error, with what there was by then. The model inside is asked without
/// callbacks, and is to have none.
///
/// ```
/// use futures_executor::block_on;
/// use rappel_core::prelude::*;
/// use rappel_core::Threads;
/// use rappel_testkit::{Answer, Fault, FaultyChatModel, Recorder, ScriptedChatModel, expect};
///
/// let recorder = Recorder::new();
/// let callbacks = CallbackManager::new(Threads::new()).with_handler(recorder.clone());
/// let answers = [Answer::tokens(["Why", " not", "?"]), Answer::tokens(["Because"])];
/// let model = FaultyChatModel::new(ScriptedChatModel::new(answers), [Fault::error_after(2, "connection reset")]).callbacks(callbacks);
///
/// let ask = || block_on(model.generate(vec![vec![Message::human("Tell me a joke")]])).remove(0);
/// assert!(ask().is_err());
/// assert_eq!(ask().unwrap().text(), "Because");
///
/// recorder.assert_runs([
///     expect().chat_model_start().tokens(["Why", " not"]).failed().saying("connection reset").with_partial("Why not"),
///     expect().chat_model_start().tokens(["Because"]).end(),
/// ]);
/// ```
pub struct FaultyChatModel<M> {
    front: Front,
    model: M,
    faults: Mutex<VecDeque<Fault>>,
}

impl<M: ChatModel> FaultyChatModel<M> {
    /// Asks `model`; its first request has the first fault, and so on.
    pub fn new(model: M, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            front: Front::new("faulty"),
            model,
            faults: Mutex::new(faults.into_iter().collect()),
        }
    }

    /// Sets the model's own callbacks.
    #[must_use]
    pub fn callbacks(mut self, callbacks: impl IntoCallbacks) -> Self {
        self.front.callbacks = Some(callbacks.into_callbacks());
        self
    }

    /// Sets the name of the model, and of its runs. It is `faulty`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.front.name = name.into();
        self
    }

    /// Whether [`generate`](ChatModel::generate) tells of tokens; it does.
    #[must_use]
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.front.streaming = streaming;
        self
    }

    /// The model inside.
    pub fn model(&self) -> &M {
        &self.model
    }

    fn next_fault(&self) -> Fault {
        let next = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        next.unwrap_or_else(Fault::none)
    }

    async fn ask(&self, fault: Fault, messages: Vec<Message>) -> Result<Chunks, RunError> {
        if let Kind::Fail(cause) = fault.0 {
            return Err(cause);
        }
        let unheard = CallOptions::new().callbacks(CallbackManager::noop());
        let chunks = self.model.stream_with(messages, unheard).await?;
        Ok(faulted(chunks, fault))
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for FaultyChatModel<M> {
    async fn generate_with(&self, messages: Vec<Vec<Message>>, options: CallOptions) -> Vec<Result<LlmResult, RunError>> {
        let answers = messages
            .iter()
            .map(|messages| self.ask(self.next_fault(), messages.clone()))
            .collect();
        self.front.generate(messages, answers, &options).await
    }

    async fn stream_with(&self, messages: Vec<Message>, options: CallOptions) -> Result<LlmStream, RunError> {
        let answer = self.ask(self.next_fault(), messages.clone());
        self.front.stream(&messages, answer, &options).await
    }
}

impl<M: fmt::Debug> fmt::Debug for FaultyChatModel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyChatModel")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// What goes wrong with a request.
pub struct Fault(Kind);

enum Kind {
    None,
    Fail(RunError),
    Error(usize, RunError),
    Cut(usize),
    Hang(usize, Grip),
    Slow(Duration, Arc<dyn Timer>),
}

/// What a model that hangs holds.
struct Grip {
    reached: oneshot::Sender<()>,
    let_go: oneshot::Receiver<()>,
    /// Its drop is the signal.
    hanging: oneshot::Sender<Infallible>,
}

impl Fault {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(Kind::None)
    }

    /// The request fails before the first token; the model inside is not asked.
    pub fn fail(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Kind::Fail(RunError::failed(cause)))
    }

    /// The answer fails after so many tokens, or at its end where it has fewer.
    pub fn error_after(tokens: usize, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Kind::Error(tokens, RunError::failed(cause)))
    }

    /// The answer ends after so many tokens, as if that were all.
    #[must_use]
    pub fn cut_after(tokens: usize) -> Self {
        Self(Kind::Cut(tokens))
    }

    /// The answer hangs after so many tokens, or at its end where it has fewer, until it is let go or dropped. The [`Hang`] tells of it.
    pub fn hang_after(tokens: usize) -> (Self, Hang) {
        let (reached, told) = oneshot::channel();
        let (free, let_go) = oneshot::channel();
        let (hanging, dropped) = oneshot::channel();
        let grip = Grip { reached, let_go, hanging };
        let hang = Hang {
            reached: told,
            let_go: free,
            dropped,
        };
        (Self(Kind::Hang(tokens, grip)), hang)
    }

    /// Each chunk, and the answer's end, takes that long, by that timer.
    pub fn slow(delay: Duration, timer: impl Timer) -> Self {
        Self(Kind::Slow(delay, Arc::new(timer)))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::None => f.write_str("None"),
            Kind::Fail(cause) => f.debug_tuple("Fail").field(cause).finish(),
            Kind::Error(tokens, cause) => f.debug_tuple("Error").field(tokens).field(cause).finish(),
            Kind::Cut(tokens) => f.debug_tuple("Cut").field(tokens).finish(),
            Kind::Hang(tokens, _) => f.debug_tuple("Hang").field(tokens).finish(),
            Kind::Slow(delay, _) => f.debug_tuple("Slow").field(delay).finish(),
        }
    }
}

/// Holds an answer that hangs. Dropped, it leaves it hanging.
#[derive(Debug)]
#[must_use = "the answer hangs until it is let go, or dropped"]
pub struct Hang {
    reached: oneshot::Receiver<()>,
    let_go: oneshot::Sender<()>,
    dropped: oneshot::Receiver<Infallible>,
}

impl Hang {
    /// Waits until the answer hangs.
    ///
    /// # Panics
    /// When the answer was dropped before, or never asked for.
    pub async fn reached(&mut self) {
        (&mut self.reached).await.expect("an answer that comes to where it hangs");
    }

    /// Has the answer go on.
    pub fn let_go(self) {
        let _ = self.let_go.send(());
    }

    /// Waits until the answer is dropped.
    pub async fn dropped(self) {
        let Self { let_go, dropped, .. } = self;
        let _ = dropped.await;
        drop(let_go);
    }
}

/// An answer, with its fault.
fn faulted(chunks: Chunks, fault: Fault) -> Chunks {
    let answer = Faulted {
        chunks,
        given: 0,
        fault: fault.0,
    };
    // What comes after an error, or after a cut, is dropped with the answer.
    Box::pin(stream::unfold(Some(answer), |answer| async {
        let mut answer = answer?;
        let next = answer.next().await?;
        let answer = next.is_ok().then_some(answer);
        Some((next, answer))
    }))
}

struct Faulted {
    chunks: Chunks,
    given: usize,
    fault: Kind,
}

impl Faulted {
    async fn next(&mut self) -> Option<Result<LlmChunk, RunError>> {
        if self.is_due(self.given) {
            if let Err(over) = self.strike().await {
                return over.map(Err);
            }
        }
        if let Kind::Slow(delay, timer) = &self.fault {
            timer.sleep(*delay).await;
        }
        if let Some(next) = self.chunks.next().await {
            self.given += 1;
            return Some(next);
        }
        // A fault that has not come to its place comes at the end.
        self.strike().await.err()?.map(Err)
    }

    fn is_due(&self, given: usize) -> bool {
        match self.fault {
            Kind::Error(tokens, _) | Kind::Cut(tokens) | Kind::Hang(tokens, _) => given >= tokens,
            Kind::None | Kind::Fail(_) | Kind::Slow(..) => false,
        }
    }

    /// Has the fault come, once. On an error the answer is over, with the error that is in that, if there is one.
    async fn strike(&mut self) -> Result<(), Option<RunError>> {
        match std::mem::replace(&mut self.fault, Kind::None) {
            Kind::Error(_, cause) => Err(Some(cause)),
            Kind::Cut(_) => Err(None),
            Kind::Hang(_, grip) => {
                let _hanging = grip.hanging;
                let _ = grip.reached.send(());
                if grip.let_go.await.is_err() {
                    pending::<()>().await;
                }
                Ok(())
            }
            Kind::None | Kind::Fail(_) | Kind::Slow(..) => Ok(()),
        }
    }
}
