//! Instrumenting code: a future becomes a run.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::any::Any;
use core::error::Error;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use serde_core::Serialize;
use serde_json::Value;

use crate::context::{self, InCurrentRun};
use crate::error::RunError;
use crate::event::{ChainEnd, ChainStart, Document, Event, RetrieverEnd, RetrieverStart, ToolEnd, ToolStart};
use crate::manager::CallbackManager;
use crate::runs::Parent;
use crate::scope::{OwnedEmit, error_event};

/// Makes a run of a future, or runs it inside one.
///
/// A future that became a run starts it at its first poll, ends it with its output, and, dropped before that, cancels it. Inside it
/// [`CallbackManager::current`] is the manager of the run's children, so that a model that is called there hangs under it.
/// The future's error must be made of a [`RunError`], for the case that a handler with `raise_error` stops the run: `RunError` itself, a
/// `Box<dyn Error + Send + Sync>`, or an error of your own.
///
/// ```
/// # use rappel_core::{CallbackManager, InRun, RunError};
/// # async fn example(callbacks: CallbackManager) -> Result<(), RunError> {
/// let answer = async {
///     let callbacks = CallbackManager::current();
///     // … a model that is asked here hangs under the chain
///     Ok::<_, RunError>(42)
/// };
/// assert_eq!(answer.in_chain(&callbacks, "deep-thought", "the question").await?, 42);
/// # Ok(())
/// # }
/// ```
pub trait InRun: Future + Sized {
    /// Makes a chain's run of the future. Its output is the chain's; one that cannot be written as JSON is told of as null.
    fn in_chain<T, E, R>(self, manager: &CallbackManager<R>, name: impl Into<Arc<str>>, inputs: impl Into<Value>) -> RunFuture<Self, T, E>
    where
        Self: Future<Output = Result<T, E>>,
        T: Serialize,
        E: fmt::Display + From<RunError> + 'static,
    {
        let start = manager.on_chain_start(ChainStart::new(name, inputs));
        RunFuture::new(self, start.into_emit(), |output| ChainEnd::new(json(output)).into())
    }

    /// Makes a tool's run of the future. Its output is the tool's; one that cannot be written as JSON is told of as null.
    fn in_tool<T, E, R>(self, manager: &CallbackManager<R>, name: impl Into<Arc<str>>, input: impl Into<String>) -> RunFuture<Self, T, E>
    where
        Self: Future<Output = Result<T, E>>,
        T: Serialize,
        E: fmt::Display + From<RunError> + 'static,
    {
        let start = manager.on_tool_start(ToolStart::new(name, input));
        RunFuture::new(self, start.into_emit(), |output| ToolEnd::new(json(output)).into())
    }

    /// Makes a retriever's run of the future.
    fn in_retriever<T, E, R>(
        self,
        manager: &CallbackManager<R>,
        name: impl Into<Arc<str>>,
        query: impl Into<String>,
    ) -> RunFuture<Self, T, E>
    where
        Self: Future<Output = Result<T, E>>,
        T: AsRef<[Document]>,
        E: fmt::Display + From<RunError> + 'static,
    {
        let start = manager.on_retriever_start(RetrieverStart::new(name, query));
        RunFuture::new(self, start.into_emit(), |documents: &T| {
            RetrieverEnd::new(documents.as_ref()).into()
        })
    }

    /// Runs the future inside the run that is current here: for a task that is spawned.
    ///
    /// ```
    /// # use rappel_core::InRun;
    /// # fn spawn(_: impl Future<Output = ()> + Send + 'static) {}
    /// spawn(async { /* finds the same parent */ }.in_current_run());
    /// ```
    fn in_current_run(self) -> InCurrentRun<Self> {
        InCurrentRun::new(self, context::current())
    }

    /// Runs the future inside `run`, which goes on after it: a chain, a tool, a retriever, or the run whose children a manager is for.
    fn in_run(self, run: &impl Parent) -> InCurrentRun<Self> {
        InCurrentRun::new(self, context::current().in_run(run.children().parent()))
    }
}

impl<F: Future> InRun for F {}

fn json(output: &impl Serialize) -> Value {
    serde_json::to_value(output).unwrap_or_default()
}

/// What a run's error event says of the error that its future returned, which stays the caller's.
fn told<E: fmt::Display + 'static>(error: &E) -> RunError {
    let error_of_run = match (error as &dyn Any).downcast_ref::<Box<dyn Error + Send + Sync>>() {
        Some(boxed) => boxed.downcast_ref::<RunError>(),
        None => (error as &dyn Any).downcast_ref::<RunError>(),
    };
    error_of_run.cloned().unwrap_or_else(|| RunError::failed(error.to_string()))
}

pin_project! {
    /// A future that is a run: what [`in_chain`](InRun::in_chain), [`in_tool`](InRun::in_tool) and [`in_retriever`](InRun::in_retriever) make.
    ///
    /// Dropped before its end, it cancels the run, once what is inside it has been dropped. Once its output is there and the end is accepted,
    /// that is delivered as an end, whatever becomes of who waits for it.
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct RunFuture<F, T, E> {
        // Dropped first, and let go of as soon as it is done: what runs inside ends before what it is in.
        #[pin]
        future: Option<F>,
        // Absent once the run has ended.
        emit: Option<OwnedEmit>,
        output: Option<Result<T, E>>,
        end: fn(&T) -> Event,
    }
}

impl<F, T, E> RunFuture<F, T, E> {
    fn new(future: F, emit: OwnedEmit, end: fn(&T) -> Event) -> Self {
        Self {
            future: Some(future),
            emit: Some(emit),
            output: None,
            end,
        }
    }
}

impl<F, T, E> Future for RunFuture<F, T, E>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display + From<RunError> + 'static,
{
    type Output = Result<T, E>;

    /// # Panics
    /// When it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut this = self.project();
        let emit = this.emit.as_mut().expect("a run was polled after it was ready");
        loop {
            // The event under way: the start, or the end once there is an output.
            if let Err(error) = ready!(emit.poll_said(cx)) {
                this.future.set(None);
                // Given up before its end, the run ends as stopped; one that has ended is only let go.
                *this.emit = None;
                // The future's own error comes before a handler's.
                return Poll::Ready(match this.output.take() {
                    Some(Err(own)) => Err(own),
                    Some(Ok(_)) | None => Err(RunError::from(error).into()),
                });
            }
            if let Some(output) = this.output.take() {
                *this.emit = None;
                return Poll::Ready(output);
            }
            let inside = context::enter_run(emit.scope().facts());
            let future = this.future.as_mut().as_pin_mut().expect("it is there until it has an output");
            let output = ready!(future.poll(cx));
            this.future.set(None);
            drop(inside);
            let kind = emit.scope().info().kind();
            emit.say(|| match &output {
                Ok(output) => (this.end)(output),
                Err(error) => error_event(kind, told(error)),
            });
            *this.output = Some(output);
        }
    }
}

impl<F, T, E> fmt::Debug for RunFuture<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.emit.as_ref().map(|emit| emit.scope().info());
        f.debug_struct("RunFuture").field("run", &info).finish_non_exhaustive()
    }
}
