//! Runs of every kind, which note in the history what is about to end them.

use std::pin::Pin;
use std::task::{Context, Poll};

use rappel_core::prelude::*;
use rappel_core::{ChatModelStart, Emit, End, Start, json};

use super::bomb::{Bomb, defuse};
use super::history::{History, How, What, token};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Chain,
    Tool,
    Retriever,
    Llm,
    ChatModel,
}

/// A run of any kind.
#[derive(Debug)]
pub(super) enum AnyRun {
    Chain(ChainRun),
    Tool(ToolRun),
    Retriever(RetrieverRun),
    Llm(LlmRun),
}

macro_rules! each {
    ($any:expr, $run:ident => $do:expr) => {
        match $any {
            AnyRun::Chain($run) => $do,
            AnyRun::Tool($run) => $do,
            AnyRun::Retriever($run) => $do,
            AnyRun::Llm($run) => $do,
        }
    };
}

impl AnyRun {
    pub(super) fn child(&self) -> CallbackManager {
        each!(self, run => run.child())
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
        each!(self, run => run.poll_flush(cx))
    }

    /// Begins to send the event of that number.
    pub(super) fn start_send(&mut self, number: usize) {
        let custom = || CustomEvent::new(number.to_string(), json!(0));
        match self {
            Self::Chain(run) => run.start_send(Text::new(number.to_string())),
            Self::Tool(run) => run.start_send(custom()),
            Self::Retriever(run) => run.start_send(custom()),
            Self::Llm(run) => run.start_send(LlmChunk::new(token(number))),
        }
    }

    /// An event of the kind of run.
    pub(super) fn emit(&mut self, number: usize) -> Emit<'_> {
        let custom = || CustomEvent::new(number.to_string(), json!(0));
        match self {
            Self::Chain(run) => run.on_text(number.to_string()),
            Self::Tool(run) => run.on_custom_event(custom()),
            Self::Retriever(run) => run.on_custom_event(custom()),
            Self::Llm(run) => run.on_llm_new_token(token(number)),
        }
    }

    pub(super) fn retry(&mut self, number: usize) -> Emit<'_> {
        let attempt = u32::try_from(number).unwrap();
        let retry = Retry::new(attempt, "slow", std::time::Duration::ZERO);
        each!(self, run => run.on_retry(retry))
    }

    fn end(self) -> End {
        match self {
            Self::Chain(run) => run.end(json!(1)),
            Self::Tool(run) => run.end(json!(1)),
            Self::Retriever(run) => run.end(Vec::new()),
            Self::Llm(run) => run.end("whole"),
        }
    }

    fn fail(self, bomb: bool) -> End {
        match bomb {
            true => each!(self, run => run.fail(Bomb)),
            false => each!(self, run => run.fail("broken")),
        }
    }

    /// A future that is pending until the run is closed.
    pub(super) fn until_closed(&self) -> Pin<Box<dyn Future<Output = bool> + Send>> {
        let silent = std::future::pending::<()>();
        each!(self, run => {
            let closed = run.until_closed(silent);
            Box::pin(async move { matches!(closed.await, Err(RunError::Cancelled)) })
        })
    }
}

/// A run that is open. Dropped, it is cancelled.
pub(super) struct Held {
    run: Option<AnyRun>,
    pub(super) name: String,
    history: History,
    /// How many events it has emitted.
    pub(super) events: usize,
    /// Whether an event may not be handled yet whose emit was dropped.
    pub(super) busy: bool,
}

impl Held {
    pub(super) fn run(&mut self) -> &mut AnyRun {
        self.run.as_mut().expect("a run that is held is open")
    }

    /// The event of that number that [`AnyRun::emit`] emits.
    pub(super) fn what(&self, number: usize) -> What {
        match self.run {
            Some(AnyRun::Llm(_)) => What::Token { choice: 0, number },
            _ => What::Other(number),
        }
    }

    pub(super) fn child(&self) -> CallbackManager {
        self.run.as_ref().expect("a run that is held is open").child()
    }

    pub(super) fn into_end(mut self) -> End {
        self.history.intend(&self.name, How::Result);
        self.run.take().expect("a run that is held is open").end()
    }

    pub(super) fn into_failure(mut self, bomb: bool) -> End {
        self.history.intend(&self.name, How::Failed);
        self.run.take().expect("a run that is held is open").fail(bomb)
    }

    pub(super) fn into_llm(mut self) -> Option<LlmRun> {
        match self.run.take() {
            Some(AnyRun::Llm(run)) => Some(run),
            _ => None,
        }
    }

    pub(super) fn leak(mut self) {
        self.history.leak(&self.name);
        std::mem::forget(self.run.take());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            self.history.intend(&self.name, How::Cancelled);
            defuse(run);
        }
    }
}

type BoxedStart = Pin<Box<dyn Future<Output = Result<AnyRun, EmitError>> + Send>>;

/// A run that starts. Dropped before it has, it is cancelled.
pub(super) struct Starting {
    start: Option<BoxedStart>,
    name: String,
    history: History,
}

impl Starting {
    /// Starts a run under `parent`, if there is one.
    pub(super) fn new(
        history: &History,
        callbacks: &CallbackManager,
        kind: Kind,
        name: &str,
        (parent, detached): (Option<&str>, bool),
    ) -> Self {
        history.announce(name, parent, detached);
        Self::announced(history, callbacks, kind, name)
    }

    /// Starts a run that the history knows of already.
    pub(super) fn announced(
        history: &History,
        callbacks: &CallbackManager,
        kind: Kind,
        name: &str,
    ) -> Self {
        let start: BoxedStart = match kind {
            Kind::Chain => boxed(callbacks.on_chain_start(ChainStart::new(name, json!(0)))),
            Kind::Tool => boxed(callbacks.on_tool_start(ToolStart::new(name, "input"))),
            Kind::Retriever => boxed(callbacks.on_retriever_start(RetrieverStart::new(name, "q"))),
            Kind::Llm => boxed(callbacks.on_llm_start(LlmStart::new(name, "prompt"))),
            Kind::ChatModel => {
                let messages = vec![Message::human("prompt")];
                boxed(callbacks.on_chat_model_start(ChatModelStart::new(name, messages)))
            }
        };
        Self { start: Some(start), name: name.to_owned(), history: history.clone() }
    }

    pub(super) fn leak(mut self) {
        self.history.leak(&self.name);
        std::mem::forget(self.start.take());
    }
}

fn boxed<R: Into<AnyRun> + 'static>(start: Start<R>) -> BoxedStart
where
    Start<R>: Future<Output = Result<R, EmitError>> + Send,
{
    Box::pin(async { start.await.map(Into::into) })
}

impl Future for Starting {
    type Output = Result<Held, EmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let start = self.start.as_mut().expect("it is polled until it is ready");
        let Poll::Ready(result) = start.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.start = None;
        let (name, history) = (self.name.clone(), self.history.clone());
        if result.is_err() {
            history.intend(&name, How::Cancelled);
        }
        Poll::Ready(result.map(|run| Held {
            run: Some(run),
            name,
            history,
            events: 0,
            busy: false,
        }))
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(start) = self.start.take() {
            self.history.intend(&self.name, How::Cancelled);
            defuse(start);
        }
    }
}

macro_rules! from {
    ($($variant:ident($run:ident)),+) => {$(
        impl From<$run> for AnyRun {
            fn from(run: $run) -> Self {
                Self::$variant(run)
            }
        }
    )+};
}
from!(Chain(ChainRun), Tool(ToolRun), Retriever(RetrieverRun), Llm(LlmRun));
