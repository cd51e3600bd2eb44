//! Futures that are runs, and futures inside runs.

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

use super::current::{Inside, scope_of, scoped};
use crate::dispatch::{Current, Place, Scoped, current, enter, is_here};
use crate::manager::CallbackManager;
use crate::model::document::Document;
use crate::model::error::{EmitError, RunError};
use crate::model::event::{
    ChainEnd, ChainStart, Event, RetrieverEnd, RetrieverStart, ToolEnd, ToolStart, error_event,
};
use crate::run::{Closing, End, Run, RunHandle, Start};
use crate::util::drop_quietly;

/// The error of an instrumented future. It is implemented for every error that is made of a
/// [`RunError`]: a handler with `raise_error` or a shutdown may stop the run, and the future's error
/// has to say so.
#[diagnostic::on_unimplemented(
    message = "the error `{Self}` of an instrumented future cannot be made of a `RunError`",
    label = "add `impl From<RunError> for {Self}`",
    note = "a handler with `raise_error` may stop the run: the future's error must be able to say so",
    note = "or map the error first: `async {{ future.await.map_err(RunError::failed) }}`"
)]
pub trait FromRunError {
    /// Makes the error.
    fn from_run_error(error: RunError) -> Self;
}

#[diagnostic::do_not_recommend]
impl<E: From<RunError>> FromRunError for E {
    fn from_run_error(error: RunError) -> Self {
        error.into()
    }
}

/// Makes a future a run, or runs it inside one.
///
/// A future that is a run starts the run at its first poll and ends it with its output. Dropped
/// before that, it cancels the run. Inside it, [`CallbackManager::current`] is the manager of the
/// run's children, so a model that is called there is a child of the run. If the run is closed by
/// its parent or by a shutdown, the future drops what it wraps and resolves with an error.
///
/// ```
/// # use rappel_core::{CallbackManager, InRun, RunError};
/// # async fn example(callbacks: CallbackManager) -> Result<(), RunError> {
/// let answer = async {
///     let callbacks = CallbackManager::current();
///     // A model that is asked here is a child of the chain.
///     # let _ = callbacks;
///     Ok::<_, RunError>(42)
/// };
/// assert_eq!(answer.in_chain(&callbacks, "deep-thought", "the question").await?, 42);
/// # Ok(())
/// # }
/// ```
pub trait InRun: Future + Sized {
    /// Makes the future a chain's run. Its output is the chain's. An output that cannot be written
    /// as JSON is emitted as null.
    fn in_chain<T, E>(
        self,
        manager: &CallbackManager,
        name: impl Into<Arc<str>>,
        inputs: impl Into<Value>,
    ) -> RunFuture<Self, T, E>
    where
        Self: Future<Output = Result<T, E>>,
        T: Serialize,
        E: fmt::Display + FromRunError + 'static,
    {
        let start = manager.on_chain_start(ChainStart::new(name, inputs));
        RunFuture::new(self, start.untyped(), |output| ChainEnd::new(json(output)).into())
    }

    /// Makes the future a tool's run. Its output is the tool's. An output that cannot be written as
    /// JSON is emitted as null.
    fn in_tool<T, E>(
        self,
        manager: &CallbackManager,
        name: impl Into<Arc<str>>,
        input: impl Into<String>,
    ) -> RunFuture<Self, T, E>
    where
        Self: Future<Output = Result<T, E>>,
        T: Serialize,
        E: fmt::Display + FromRunError + 'static,
    {
        let start = manager.on_tool_start(ToolStart::new(name, input));
        RunFuture::new(self, start.untyped(), |output| ToolEnd::new(json(output)).into())
    }

    /// Makes the future a retriever's run.
    fn in_retriever<T, E>(
        self,
        manager: &CallbackManager,
        name: impl Into<Arc<str>>,
        query: impl Into<String>,
    ) -> RunFuture<Self, T, E>
    where
        Self: Future<Output = Result<T, E>>,
        T: AsRef<[Document]>,
        E: fmt::Display + FromRunError + 'static,
    {
        let start = manager.on_retriever_start(RetrieverStart::new(name, query));
        RunFuture::new(self, start.untyped(), |documents: &T| {
            RetrieverEnd::new(documents.as_ref()).into()
        })
    }

    /// Runs the future with the run and the manager that are current here: for a task that is
    /// spawned.
    ///
    /// ```
    /// # use rappel_core::InRun;
    /// # fn spawn(_: impl Future<Output = ()> + Send + 'static) {}
    /// spawn(async { /* the same run is current */ }.in_current_run());
    /// ```
    fn in_current_run(self) -> Scoped<Self> {
        Scoped::new(self, current())
    }

    /// Runs the future inside `run`, which is open after it: a run, or the run whose children a
    /// manager is for.
    fn in_run(self, run: &impl Inside) -> Scoped<Self> {
        scoped(self, run)
    }

    /// Runs the future with `manager` as the current manager: its handlers receive the events of
    /// everything inside that uses [`CallbackManager::current`], also without a run.
    fn in_scope(self, manager: &CallbackManager) -> Scoped<Self> {
        scoped(self, manager)
    }
}

impl<F: Future> InRun for F {}

pub(super) fn json(output: &impl Serialize) -> Value {
    serde_json::to_value(output).unwrap_or_default()
}

/// What a run's error event says of the error that its future returns.
fn run_error<E: fmt::Display + 'static>(error: &E) -> RunError {
    let error_of_run = match (error as &dyn Any).downcast_ref::<Box<dyn Error + Send + Sync>>() {
        Some(boxed) => boxed.downcast_ref::<RunError>(),
        None => (error as &dyn Any).downcast_ref::<RunError>(),
    };
    error_of_run.cloned().unwrap_or_else(|| RunError::failed(error.to_string()))
}

/// A run in a place: the future inside it is polled and dropped there.
pub(super) struct Work {
    /// Ready when the run was closed by its parent or by a shutdown.
    pub(super) closing: Closing,
    pub(super) handle: RunHandle,
    outer: Current,
    place: Current,
}

impl Work {
    pub(super) fn new(handle: RunHandle) -> Self {
        let place = Place::inside(scope_of(handle.run()));
        let closing = Closing::new(handle.run().node.clone());
        Self { closing, handle, outer: current(), place }
    }

    pub(super) fn run(&self) -> &Arc<Run> {
        self.handle.run()
    }

    /// Calls `f` inside the run. A panic ends the run, and goes on.
    pub(super) fn with<O>(&mut self, f: impl FnOnce() -> O) -> O {
        if !is_here(&self.outer) {
            self.outer = current();
            self.place = Place::inside(scope_of(self.run()));
        }
        let place = enter(self.place.clone());
        #[cfg(feature = "std")]
        {
            use core::panic::AssertUnwindSafe;
            match std::panic::catch_unwind(AssertUnwindSafe(f)) {
                Ok(output) => output,
                Err(payload) => {
                    // The end is not emitted inside the run, which it would keep alive.
                    drop(place);
                    self.run().close_panicked(&*payload);
                    std::panic::resume_unwind(payload)
                }
            }
        }
        #[cfg(not(feature = "std"))]
        {
            let output = f();
            drop(place);
            output
        }
    }
}

/// How far a future that is a run has come.
enum Stage {
    Starting(Start<RunHandle>),
    Running(Work),
    Ending(End),
    Done,
}

pin_project! {
    /// A future that is a run: see [`InRun`].
    ///
    /// Dropped before its end, it cancels the run after what is inside has been dropped. Once its
    /// output is there, the run ends with it, even if this future is dropped.
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct RunFuture<F, T, E> {
        #[pin]
        future: Option<F>,
        stage: Stage,
        output: Option<Result<T, E>>,
        end: fn(&T) -> Event,
    }

    impl<F, T, E> PinnedDrop for RunFuture<F, T, E> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let mut future = this.future;
            match this.stage {
                // What runs inside ends before the run, and sees it as the current run.
                Stage::Running(work) => work.with(|| future.set(None)),
                _ => future.set(None),
            }
        }
    }
}

impl<F, T, E> RunFuture<F, T, E> {
    fn new(future: F, start: Start<RunHandle>, end: fn(&T) -> Event) -> Self {
        Self { future: Some(future), stage: Stage::Starting(start), output: None, end }
    }
}

impl<F, T, E> Future for RunFuture<F, T, E>
where
    F: Future<Output = Result<T, E>>,
    E: fmt::Display + FromRunError + 'static,
{
    type Output = Result<T, E>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut this = self.project();
        loop {
            match this.stage {
                Stage::Starting(start) => match ready!(Pin::new(start).poll(cx)) {
                    Ok(handle) => *this.stage = Stage::Running(Work::new(handle)),
                    Err(error) => {
                        this.future.set(None);
                        *this.stage = Stage::Done;
                        return Poll::Ready(Err(stopped(error)));
                    }
                },
                Stage::Running(work) => {
                    let mut future = this.future.as_mut();
                    if work.closing.poll(cx).is_ready() {
                        work.with(|| future.set(None));
                        *this.stage = Stage::Done;
                        return Poll::Ready(Err(E::from_run_error(RunError::Cancelled)));
                    }
                    let output = ready!(work.with(|| {
                        let inner = future.as_mut().as_pin_mut();
                        let poll = inner.expect("it is there until its output is").poll(cx);
                        if poll.is_ready() {
                            future.set(None);
                        }
                        poll
                    }));
                    let (kind, end) = (work.run().node.info.kind(), *this.end);
                    // The output writes itself, and may panic.
                    let event = work.with(|| match &output {
                        Ok(output) => end(output),
                        Err(error) => error_event(kind, run_error(error)),
                    });
                    *this.output = Some(output);
                    let stage = core::mem::replace(this.stage, Stage::Done);
                    if let Stage::Running(work) = stage {
                        *this.stage = Stage::Ending(work.handle.end(event));
                    }
                }
                Stage::Ending(end) => {
                    let outcome = ready!(Pin::new(end).poll(cx));
                    *this.stage = Stage::Done;
                    // The future's own error comes before that of a handler.
                    return Poll::Ready(match (this.output.take(), outcome) {
                        (Some(Ok(_)) | None, Err(error)) => Err(stopped(error)),
                        (Some(output), outcome) => {
                            // A handler's error may panic when it is dropped.
                            drop_quietly(outcome);
                            output
                        }
                        (None, Ok(())) => Err(E::from_run_error(RunError::Cancelled)),
                    });
                }
                Stage::Done => panic!("a run was polled after it was ready"),
            }
        }
    }
}

fn stopped<E: FromRunError>(error: EmitError) -> E {
    E::from_run_error(error.into())
}

impl<F, T, E> fmt::Debug for RunFuture<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = match &self.stage {
            Stage::Running(work) => Some(&*work.run().node.info),
            _ => None,
        };
        f.debug_struct("RunFuture").field("run", &info).finish_non_exhaustive()
    }
}
