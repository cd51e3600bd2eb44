//! The same events from code without a runtime: each call returns once its event is handled.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};

use serde_json::Value;

use crate::context::{self, InCurrentRun};
use crate::error::{EmitError, FailureCause, HandlerFailure, StartError};
use crate::event::{
    AgentAction, AgentFinish, ChainStart, ChatModelStart, CustomEvent, Document, EventKind, LlmNewToken, LlmStart, RetrieverStart, Retry,
    Text, ToolStart,
};
use crate::manager::{CallbackManager, Setup};
use crate::park::{PATIENCE, block_on, block_on_and};
use crate::registration::Registration;
use crate::result::LlmResult;
use crate::run_info::{RunId, RunInfo};
use crate::runs::{ChainRun, LlmRun, RetrieverRun, ToolRun};
use crate::runtime::Timer;
use crate::scope::{End, InFlight, OwnedEmit, Scope};
use crate::stats::ShutdownReport;

/// A manager, or a run, for code without a runtime: what emitting returns elsewhere is waited for here. [`CallbackManager::blocking`] gives one.
///
/// - **Sync handlers** that are awaited are called at once, on the caller's thread, unless another thread is calling them at that moment, or they have a
///   time-out, which could not free the caller from its own call. Those that are pipelined or in the background are called where they always are. What
///   nobody has come to call for 10 ms, and is waited for, is called on the caller's thread as well: that may be the only one there is.
/// - **Async handlers** are polled by the manager's runtime, while the caller waits: a task for each event that any of them hears.
/// - What nobody hears costs next to nothing.
///
/// No thread, runtime or loop is made for an event.
///
/// # Errors
/// Beside those of the futures, every call has [`EmitError::WouldBlock`], where it would wait for what its own thread has to do: on a thread that polls the
/// runtime's tasks, as far as the runtime can tell ([`Spawner::may_block`](crate::Spawner::may_block)), and inside the call of an async or an inline
/// handler. The event has not happened then; a run whose end it was is cancelled. Inside the call of any other sync handler it works: what is emitted to a
/// handler that is further out is queued, as ever.
///
/// ```
/// use rappel_core::Threads;
/// use rappel_core::prelude::*;
///
/// fn main() -> Result<(), RunError> {
///     let callbacks = CallbackManager::new(Threads::new()).with_handler(handler_fn(|event, run| {
///         println!("{}: {}", run.name(), event.kind());
///         Ok(())
///     }));
///     let callbacks = callbacks.blocking();
///     let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke"))?;
///     run.on_llm_new_token("Why not?")?;
///     run.end(LlmResult::from_text("Why not?"))?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Blocking<T>(T);

impl<T> Blocking<T> {
    /// The manager or the run itself, which returns futures.
    pub fn get_ref(&self) -> &T {
        &self.0
    }

    /// The manager or the run itself, which returns futures.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<R> CallbackManager<R> {
    /// The same for code without a runtime: see [`Blocking`].
    #[must_use]
    pub fn blocking(&self) -> Blocking<Self> {
        Blocking(self.clone())
    }
}

type Started<Run> = Result<Blocking<Run>, StartError<Blocking<Run>>>;

macro_rules! starts {
    ($($(#[$doc:meta])* $start:ident($event:ident) -> $run:ident;)+) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As the future's; and [`EmitError::WouldBlock`]. A run that is in the error has started unless it is this one.
        pub fn $start(&self, start: $event) -> Started<$run> {
            started(self.0.$start(start).into_emit())
        }
    )+};
}

impl<R> Blocking<CallbackManager<R>> {
    starts! {
        /// Starts a model's run, of a prompt.
        on_llm_start(LlmStart) -> LlmRun;
        /// Starts a chat model's run.
        on_chat_model_start(ChatModelStart) -> LlmRun;
        /// Starts a chain's run.
        on_chain_start(ChainStart) -> ChainRun;
        /// Starts a tool's run.
        on_tool_start(ToolStart) -> ToolRun;
        /// Starts a retriever's run.
        on_retriever_start(RetrieverStart) -> RetrieverRun;
    }

    /// Starts a chain's run that other runs are grouped under.
    ///
    /// # Errors
    /// As the future's; and [`EmitError::WouldBlock`].
    pub fn group(&self, name: impl Into<Arc<str>>) -> Started<ChainRun> {
        started(self.0.group(name).into_emit())
    }

    /// Sends an event of the application's own.
    ///
    /// # Errors
    /// As the future's; and [`EmitError::WouldBlock`].
    pub fn on_custom_event(&self, event: CustomEvent) -> Result<(), EmitError> {
        let (_scope, in_flight) = self.0.on_custom_event(event).into_emit().into_parts();
        drive(in_flight)
    }

    /// Waits until all that was emitted before it is handled.
    ///
    /// # Errors
    /// [`EmitError::WouldBlock`].
    pub fn flush(&self) -> Result<(), EmitError> {
        wait_for(self.0.setup(), self.0.flush())
    }

    /// Ends it all, as [`CallbackManager::shutdown`] does.
    ///
    /// # Errors
    /// [`EmitError::WouldBlock`].
    pub fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, EmitError>
    where
        R: Timer,
    {
        wait_for(self.0.setup(), self.0.shutdown(deadline))
    }
}

macro_rules! run {
    ($run:ident { $($(#[$doc:meta])* $tell:ident($($event:tt)+);)* } ends with $result:ty) => {
        impl Blocking<$run> {
            /// What the run's events tell of it.
            #[must_use]
            pub fn info(&self) -> &RunInfo {
                self.0.info()
            }

            /// The run's id.
            #[must_use]
            pub fn id(&self) -> RunId {
                self.0.id()
            }

            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As the future's; and [`EmitError::WouldBlock`].
                pub fn $tell(&self, event: $($event)+) -> Result<(), EmitError> {
                    self.0.$tell(event).into_in_flight().map_or(Ok(()), drive)
                }
            )*

            /// Tells that something failed and will be tried again.
            ///
            /// # Errors
            /// As the future's; and [`EmitError::WouldBlock`].
            pub fn on_retry(&self, retry: Retry) -> Result<(), EmitError> {
                self.0.on_retry(retry).into_in_flight().map_or(Ok(()), drive)
            }

            /// Ends the run with what came of it.
            ///
            /// # Errors
            /// As the future's; and [`EmitError::WouldBlock`], after which the run is cancelled.
            pub fn end(self, result: impl Into<$result>) -> Result<(), EmitError> {
                end(self.0.end(result.into()))
            }

            /// Ends the run in an error: any error, or text.
            ///
            /// # Errors
            /// As the future's; and [`EmitError::WouldBlock`], after which the run is cancelled.
            pub fn error(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> Result<(), EmitError> {
                end(self.0.error(error))
            }
        }
    };
}

macro_rules! parent {
    ($($run:ident),+) => {$(
        impl Blocking<$run> {
            /// The manager of what runs inside this run, for code without a runtime as well.
            #[must_use]
            pub fn child<'a>(&self, tag: impl Into<Option<&'a str>>) -> Blocking<CallbackManager> {
                Blocking(self.0.child(tag))
            }

            /// Sends an event of the application's own, under this run.
            ///
            /// # Errors
            /// As the future's; and [`EmitError::WouldBlock`].
            pub fn on_custom_event(&self, event: CustomEvent) -> Result<(), EmitError> {
                self.0.on_custom_event(event).into_in_flight().map_or(Ok(()), drive)
            }
        }
    )+};
}
parent!(ChainRun, ToolRun, RetrieverRun);

run! {
    LlmRun {
        /// Tells of a token: text, or the chunk that it came in.
        on_llm_new_token(impl Into<LlmNewToken>);
    } ends with LlmResult
}

run! {
    ChainRun {
        /// Tells of some text.
        on_text(impl Into<Text>);
        /// Tells that an agent chose a tool.
        on_agent_action(AgentAction);
        /// Tells that an agent is done. The run goes on until it is ended.
        on_agent_finish(AgentFinish);
    } ends with Value
}

run! { ToolRun {} ends with Value }

run! { RetrieverRun {} ends with Vec<Document> }

/// Starts a run.
fn started<Run: From<Scope>>(emit: OwnedEmit) -> Started<Run> {
    let (scope, in_flight) = emit.into_parts();
    let outcome = drive(in_flight);
    if matches!(outcome, Err(EmitError::WouldBlock)) {
        // What was not started never goes on.
        scope.core().refuse_start();
    }
    let run = Blocking(Run::from(scope));
    match outcome {
        Ok(()) => Ok(run),
        Err(error) => Err(StartError::new(run, error)),
    }
}

/// Ends a run; it is there until that is handled.
fn end(end: End) -> Result<(), EmitError> {
    let (_scope, in_flight) = end.into_emit().into_parts();
    drive(in_flight)
}

/// Waits until the event is handled.
fn drive(in_flight: InFlight) -> Result<(), EmitError> {
    let setup = in_flight.core().facts.setup.clone();
    let Some(kind) = in_flight.kind() else {
        // It is over already.
        return block_on(in_flight);
    };
    if !setup.wants(kind) && !kind.is_end() {
        return block_on(in_flight);
    }
    if !may_block(&setup) {
        return Err(EmitError::WouldBlock);
    }
    match setup.first_async(kind) {
        Some(handler) => on_the_runtime(in_flight, &setup, kind, handler),
        None => {
            let event = OnThisThread { in_flight, setup: &setup };
            block_on_and(event, || setup.help_those_waited_for())
        }
    }
}

/// Whether nobody waits for this thread, as far as is known.
fn may_block(setup: &Setup) -> bool {
    // Inside an async handler's call, or an inline one's, the code around us waits; a sync handler's has a thread to itself.
    let waited_for = context::current().is_in_a_call() && !context::is_serving();
    !waited_for && setup.engine.runtime.may_block()
}

fn wait_for<F: Future>(setup: &Setup, future: F) -> Result<F::Output, EmitError> {
    match may_block(setup) {
        true => Ok(block_on(future)),
        false => Err(EmitError::WouldBlock),
    }
}

/// Has the manager's runtime poll what may need that.
fn on_the_runtime(in_flight: InFlight, setup: &Setup, kind: EventKind, handler: &Registration) -> Result<(), EmitError> {
    let lost = HandlerFailure::new(
        handler.name.clone(),
        kind,
        in_flight.core().facts.info.id(),
        FailureCause::RuntimeGone,
    );
    let (handled, wait) = sync_channel(1);
    let task = InCurrentRun::new(
        async move {
            let _ = handled.send(in_flight.await);
        },
        context::current(),
    );
    setup.engine.spawn(task);
    loop {
        match wait.recv_timeout(PATIENCE) {
            Ok(outcome) => return outcome,
            // This thread may be the only one that there is for sync handlers.
            Err(RecvTimeoutError::Timeout) => setup.help_those_waited_for(),
            // The runtime has dropped the task instead, which reports what is lost.
            Err(RecvTimeoutError::Disconnected) => return Err(EmitError::RuntimeGone(lost)),
        }
    }
}

/// An event that its emitter's thread waits for, and makes the calls of.
struct OnThisThread<'a> {
    in_flight: InFlight,
    setup: &'a Setup,
}

impl Future for OnThisThread<'_> {
    type Output = Result<(), EmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Those that nobody has served by then are served elsewhere, also where this panics.
        let rest = Rest(self.setup);
        let helping = context::enter_helping();
        let poll = Pin::new(&mut self.in_flight).poll(cx);
        drop(helping);
        drop(rest);
        poll
    }
}

struct Rest<'a>(&'a Setup);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.engine.workers.send_for_the_rest();
    }
}
