//! A chat model that fails by a script.

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
use rappel_core::{
    CallOptions, CallbackManager, ChatModel, LlmChunk, LlmResult, LlmStream, Message, RunError,
    Timer,
};

use crate::model::{Chunks, Front};

/// A chat model that calls another one and adds faults: one fault for each request, in order. Further
/// requests have none.
///
/// It has callbacks of its own. Handlers get a fault as they get the fault of a server: an error with
/// the partial result. The inner model is called without callbacks, and should have none.
///
/// ```
/// use futures_executor::block_on;
/// use rappel_core::prelude::*;
/// use rappel_testkit::{Answer, Fault, FaultyChatModel, Recorder, ScriptedChatModel, expect};
/// use rappel_threads::Threads;
///
/// let recorder = Recorder::new();
/// let callbacks = CallbackManager::new(Threads::new()).with_handler(recorder.clone());
/// let answers = [Answer::tokens(["Why", " not", "?"]), Answer::tokens(["Because"])];
/// let faults = [Fault::error_after(2, "connection reset")];
/// let model = FaultyChatModel::new(ScriptedChatModel::new(answers), faults).callbacks(callbacks);
///
/// let ask = || block_on(model.invoke("Tell me a joke"));
/// assert!(ask().is_err());
/// assert_eq!(ask().unwrap().text(), "Because");
///
/// let broken = expect().chat_model_start().tokens(["Why", " not"]).failed();
/// recorder.assert_runs([
///     broken.saying("connection reset").with_partial("Why not"),
///     expect().chat_model_start().tokens(["Because"]).end(),
/// ]);
/// ```
pub struct FaultyChatModel<M> {
    front: Front,
    model: M,
    faults: Mutex<VecDeque<Fault>>,
}

impl<M: ChatModel> FaultyChatModel<M> {
    /// Makes a model that calls `model`. The first request has the first fault, and so on.
    pub fn new(model: M, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            front: Front::new("faulty"),
            model,
            faults: Mutex::new(faults.into_iter().collect()),
        }
    }

    /// Sets the model's own callbacks.
    #[must_use]
    pub fn callbacks(mut self, callbacks: impl Into<CallbackManager>) -> Self {
        self.front.callbacks = Some(callbacks.into());
        self
    }

    /// Sets the name of the model and of its runs. The default is `faulty`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.front.name = name.into();
        self
    }

    /// Sets whether [`generate`](ChatModel::generate) emits tokens. The default is `true`.
    #[must_use]
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.front.streaming = streaming;
        self
    }

    /// Returns the inner model.
    pub fn model(&self) -> &M {
        &self.model
    }

    fn next_fault(&self) -> Fault {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.pop_front().unwrap_or_else(Fault::none)
    }

    async fn ask(&self, fault: Fault, messages: Vec<Message>) -> Result<Chunks, RunError> {
        if let Kind::Fail(cause) = fault.0 {
            return Err(cause);
        }
        let no_callbacks = CallOptions::from(CallbackManager::default());
        let chunks = self.model.stream_with(messages, no_callbacks).await?;
        Ok(faulted(chunks, fault))
    }
}

#[async_trait]
impl<M: ChatModel> ChatModel for FaultyChatModel<M> {
    async fn generate_with(
        &self,
        messages: Vec<Vec<Message>>,
        options: CallOptions,
    ) -> Vec<Result<LlmResult, RunError>> {
        let answers =
            messages.iter().map(|messages| self.ask(self.next_fault(), messages.clone())).collect();
        self.front.generate(messages, answers, &options).await
    }

    async fn stream_with(
        &self,
        messages: Vec<Message>,
        options: CallOptions,
    ) -> Result<LlmStream, RunError> {
        let answer = self.ask(self.next_fault(), messages.clone());
        self.front.stream(&messages, answer, &options).await
    }
}

impl<M: fmt::Debug> fmt::Debug for FaultyChatModel<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyChatModel").field("model", &self.model).finish_non_exhaustive()
    }
}

/// The fault of a request.
pub struct Fault(Kind);

enum Kind {
    None,
    Fail(RunError),
    Error(usize, RunError),
    Cut(usize),
    Hang(usize, Grip),
    Slow(Duration, Arc<dyn Timer>),
}

/// The answer's side of a [`Hang`].
struct Grip {
    reached: oneshot::Sender<()>,
    let_go: oneshot::Receiver<()>,
    /// Dropped with the answer, which is the signal.
    hanging: oneshot::Sender<Infallible>,
}

impl Fault {
    /// No fault.
    #[must_use]
    pub fn none() -> Self {
        Self(Kind::None)
    }

    /// The request fails before the first token. The inner model is not called.
    pub fn fail(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Kind::Fail(RunError::failed(cause)))
    }

    /// The answer fails after this many tokens, or at its end if it has fewer.
    pub fn error_after(tokens: usize, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Kind::Error(tokens, RunError::failed(cause)))
    }

    /// The answer ends after this many tokens, without an error.
    #[must_use]
    pub fn cut_after(tokens: usize) -> Self {
        Self(Kind::Cut(tokens))
    }

    /// The answer hangs after this many tokens, or at its end if it has fewer. The [`Hang`] controls
    /// it.
    pub fn hang_after(tokens: usize) -> (Self, Hang) {
        let (reach, reached) = oneshot::channel();
        let (go_on, let_go) = oneshot::channel();
        let (hanging, dropped) = oneshot::channel();
        let grip = Grip { reached: reach, let_go, hanging };
        let hang = Hang { reached, let_go: go_on, dropped };
        (Self(Kind::Hang(tokens, grip)), hang)
    }

    /// Each chunk, and the end of the answer, is delayed by `delay`.
    pub fn slow(delay: Duration, timer: impl Timer) -> Self {
        Self(Kind::Slow(delay, Arc::new(timer)))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::None => f.write_str("None"),
            Kind::Fail(cause) => f.debug_tuple("Fail").field(cause).finish(),
            Kind::Error(tokens, cause) => {
                f.debug_tuple("Error").field(tokens).field(cause).finish()
            }
            Kind::Cut(tokens) => f.debug_tuple("Cut").field(tokens).finish(),
            Kind::Hang(tokens, _) => f.debug_tuple("Hang").field(tokens).finish(),
            Kind::Slow(delay, _) => f.debug_tuple("Slow").field(delay).finish(),
        }
    }
}

/// Controls an answer that hangs. If it is dropped, the answer hangs until the answer is dropped.
#[derive(Debug)]
#[must_use = "the answer hangs until `let_go` is called"]
pub struct Hang {
    reached: oneshot::Receiver<()>,
    let_go: oneshot::Sender<()>,
    dropped: oneshot::Receiver<Infallible>,
}

impl Hang {
    /// Waits until the answer hangs.
    ///
    /// # Panics
    /// If the answer was dropped before, or the request was never made.
    pub async fn reached(&mut self) {
        let reached = (&mut self.reached).await;
        reached.expect("the answer was dropped before it hung");
    }

    /// Lets the answer go on.
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

/// Adds a fault to an answer.
fn faulted(chunks: Chunks, fault: Fault) -> Chunks {
    let answer = Faulted { chunks, given: 0, fault: fault.0 };
    // The answer is dropped after an error or a cut, with its remaining chunks.
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
            if let Err(end) = self.strike().await {
                return end.map(Err);
            }
        }
        if let Kind::Slow(delay, timer) = &self.fault {
            timer.sleep(*delay).await;
        }
        if let Some(next) = self.chunks.next().await {
            self.given += 1;
            return Some(next);
        }
        // The answer has fewer tokens than the fault's place.
        self.strike().await.err()?.map(Err)
    }

    fn is_due(&self, given: usize) -> bool {
        match self.fault {
            Kind::Error(tokens, _) | Kind::Cut(tokens) | Kind::Hang(tokens, _) => given >= tokens,
            Kind::None | Kind::Fail(_) | Kind::Slow(..) => false,
        }
    }

    /// Makes the fault happen, once. `Err` ends the answer, with an error or without.
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
