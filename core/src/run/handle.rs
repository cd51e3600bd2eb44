//! The public runs: one type for each kind, so that a run takes the events that belong to it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::future::Future;
use core::task::{Context, Poll};

use serde_json::Value;

use super::close::CloseRequest;
use super::drive::{EmitState, Stage};
use super::emit::{Emit, End};
use super::state::{PendingEvent, Phase, Run};
use crate::model::document::Document;
use crate::model::error::{EmitError, RunError};
use crate::model::event::{
    AgentAction, AgentFinish, ChainEnd, CustomEvent, Event, EventKind, LlmEnd, LlmNewToken,
    RetrieverEnd, Retry, Text, ToolEnd, error_event,
};
use crate::model::result::LlmResult;
use crate::model::run_info::{RunId, RunInfo};

/// A run as its owner holds it. Dropped before its end, the run is cancelled.
pub(crate) struct Owner(pub(crate) Arc<Run>);

impl Drop for Owner {
    fn drop(&mut self) {
        #[cfg(feature = "std")]
        if std::thread::panicking() {
            self.0.close(CloseRequest::Panicked(Arc::from("its task panicked")));
            return;
        }
        self.0.close(CloseRequest::Dropped);
    }
}

/// An open run, and its event under way if it is polled by hand.
pub(crate) struct RunHandle {
    // Dropped first: the event in flight is handed over before the run is closed.
    sent: Sent,
    owner: Owner,
}

/// An event that [`RunHandle::poll_flush`] polls.
struct Sent {
    run: Arc<Run>,
    state: EmitState,
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.run.hand_over(&self.state);
    }
}

impl RunHandle {
    pub(crate) fn new(owner: Owner) -> Self {
        let sent = Sent { run: owner.0.clone(), state: EmitState::done() };
        Self { sent, owner }
    }

    #[inline(always)]
    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.owner.0
    }

    #[inline(always)]
    fn emit<E: Into<PendingEvent>>(
        &mut self,
        kind: EventKind,
        make: impl FnOnce() -> E,
    ) -> Emit<'_> {
        Emit::new(&self.owner.0, kind, make)
    }

    pub(crate) fn start_send<E: Into<PendingEvent>>(
        &mut self,
        kind: EventKind,
        make: impl FnOnce() -> E,
    ) {
        debug_assert!(self.sent.state.is_done(), "one event at a time");
        if self.owner.0.is_enabled(kind) {
            self.sent.state = EmitState::new(make().into());
        }
    }

    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
        let Sent { run, state } = &mut self.sent;
        if state.is_done() {
            return Poll::Ready(Ok(()));
        }
        run.poll_emit(state, false, cx)
    }

    pub(crate) fn end(self, event: impl Into<Event>) -> End {
        End::new(self, event.into())
    }

    pub(crate) fn fail(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> End {
        let event = error_event(self.run().node.info.kind(), RunError::failed(error));
        self.end(event)
    }
}

impl Run {
    /// Has the runtime go on with an event that its emitter drops.
    pub(super) fn hand_over(self: &Arc<Self>, state: &EmitState) {
        if let Stage::Accepted(_) = state.stage {
            self.request(super::state::HAND_OVER);
        }
    }

    /// The run's result is what its tokens make together. It is kept whole.
    pub(crate) fn keep_result(self: &Arc<Self>) {
        if let Some(mut cell) = self.try_cell() {
            if cell.phase == Phase::Open && !cell.keeps_result {
                cell.keeps_result = true;
                self.rebuild_interest(&mut cell);
            }
        }
    }
}

macro_rules! run {
    ($(#[$doc:meta])* $run:ident sends $event:ty) => {
        $(#[$doc])*
        ///
        /// It ends exactly once: by `end`, by `fail`, or when it is dropped. A run that is dropped
        /// before its end ends as [`RunError::Cancelled`]. After an emit that returned
        /// [`EmitError::Raised`] it ends as [`RunError::Stopped`], and while its thread panics as
        /// [`RunError::Panicked`]. The manager's spawner delivers the event of a dropped run.
        /// [`CallbackManager::flush`](crate::CallbackManager::flush) waits for it.
        #[must_use = "a run that is dropped ends as cancelled"]
        pub struct $run(RunHandle);

        impl $run {
            /// The run's ids, name, tags and metadata.
            #[must_use]
            pub fn info(&self) -> &RunInfo {
                &self.0.run().node.info
            }

            /// The run's id.
            #[must_use]
            pub fn id(&self) -> RunId {
                self.info().id()
            }

            /// Emits that something failed and will be tried again.
            pub fn on_retry(&mut self, retry: Retry) -> Emit<'_> {
                self.0.emit(EventKind::Retry, || Event::from(retry))
            }

            /// Begins to emit an event, for hand-written streams. [`poll_flush`](Self::poll_flush)
            /// polls it to its end. Call it when `poll_flush` is ready.
            pub fn start_send(&mut self, event: impl Into<$event>) {
                let event: $event = event.into();
                let event = Event::from(event);
                self.0.start_send(event.kind(), || pending(event));
            }

            /// Polls the event of [`start_send`](Self::start_send). Ready if there is none.
            ///
            /// # Errors
            /// Those of [`Emit`].
            pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), EmitError>> {
                self.0.poll_flush(cx)
            }

            /// Runs `future` until this run is closed by its parent or by a shutdown. Then `future`
            /// is dropped. Use it for the work of a hand-written client.
            ///
            /// # Errors
            /// [`RunError::Cancelled`] if the run is closed first.
            pub fn until_closed<F: Future>(
                &self,
                future: F,
            ) -> impl Future<Output = Result<F::Output, RunError>> + use<F> {
                super::until_closed::UntilClosed::new(self.0.run().node.clone(), future)
            }

            /// Ends the run with an error: any error, or text. A [`RunError`] is taken as it is.
            pub fn fail(self, error: impl Into<Box<dyn Error + Send + Sync>>) -> End {
                self.0.fail(error)
            }

            pub(crate) fn run(&self) -> &Arc<Run> {
                self.0.run()
            }
        }

        impl From<RunHandle> for $run {
            fn from(handle: RunHandle) -> Self {
                Self(handle)
            }
        }

        impl From<$run> for RunHandle {
            fn from(run: $run) -> Self {
                run.0
            }
        }

        impl fmt::Debug for $run {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($run)).field("info", self.info()).finish_non_exhaustive()
            }
        }
    };
}

/// Tokens go without a box.
fn pending(event: Event) -> PendingEvent {
    match event {
        Event::LlmNewToken(token) => token.into(),
        event => event.into(),
    }
}

macro_rules! custom_events {
    ($($run:ident),+) => {$(
        impl $run {
            /// Emits an event of the application's own, under this run.
            pub fn on_custom_event(&mut self, event: CustomEvent) -> Emit<'_> {
                self.0.emit(EventKind::CustomEvent, || Event::from(event))
            }
        }
    )+};
}
custom_events!(ChainRun, ToolRun, RetrieverRun);

run! {
    /// A model's run, of a text model or a chat model.
    LlmRun sends LlmNewToken
}

impl LlmRun {
    /// Emits a token: text, or the chunk that it came in. Emit it before you hand the token on.
    #[inline(always)]
    pub fn on_llm_new_token(&mut self, token: impl Into<LlmNewToken>) -> Emit<'_> {
        self.0.emit(EventKind::LlmNewToken, || token.into())
    }

    /// Ends the run with what the model has made.
    pub fn end(self, result: impl Into<LlmResult>) -> End {
        self.0.end(LlmEnd::new(result.into()))
    }
}

run! {
    /// A chain's run, or an agent's.
    ChainRun sends Text
}

impl ChainRun {
    /// Emits some text.
    pub fn on_text(&mut self, text: impl Into<Text>) -> Emit<'_> {
        self.0.emit(EventKind::Text, || Event::from(text.into()))
    }

    /// Emits that an agent has chosen a tool.
    pub fn on_agent_action(&mut self, action: AgentAction) -> Emit<'_> {
        self.0.emit(EventKind::AgentAction, || Event::from(action))
    }

    /// Emits that an agent is done. The run is open until it is ended.
    pub fn on_agent_finish(&mut self, finish: AgentFinish) -> Emit<'_> {
        self.0.emit(EventKind::AgentFinish, || Event::from(finish))
    }

    /// Ends the run with its outputs.
    pub fn end(self, outputs: impl Into<Value>) -> End {
        self.0.end(ChainEnd::new(outputs))
    }
}

run! {
    /// A tool's run.
    ToolRun sends CustomEvent
}

impl ToolRun {
    /// Ends the run with the tool's output.
    pub fn end(self, output: impl Into<Value>) -> End {
        self.0.end(ToolEnd::new(output))
    }
}

run! {
    /// A retriever's run.
    RetrieverRun sends CustomEvent
}

impl RetrieverRun {
    /// Ends the run with the documents that were found, best first.
    pub fn end(self, documents: impl Into<Vec<Document>>) -> End {
        self.0.end(RetrieverEnd::new(documents))
    }
}
