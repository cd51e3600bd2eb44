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
use super::state::{EMITTER, HAND_OVER, PendingEvent, Phase, Run};
use crate::dispatch::is_in_call;
use crate::model::document::Document;
use crate::model::error::{EmitError, RunError};
use crate::model::event::{
    AgentAction, AgentFinish, ChainEnd, CustomEvent, Event, EventKind, LlmEnd, LlmNewToken,
    RetrieverEnd, Retry, Text, ToolEnd, error_event,
};
use crate::model::result::LlmResult;
use crate::model::run_info::{RunId, RunInfo};
use crate::util::drop_quietly;

/// An open run as its owner holds it, and its event under way. Dropped before its end, the run is
/// cancelled.
pub(crate) struct RunHandle {
    pub(super) run: Arc<Run>,
    /// The run's event until it is accepted, and what is known of it after that.
    pub(super) event: EmitState,
    /// The end is decided.
    ended: bool,
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        // First the event in flight is handed over, and then the run is closed.
        self.give_up();
        if self.ended {
            return;
        }
        #[cfg(feature = "std")]
        if std::thread::panicking() {
            self.run.close(CloseRequest::Panicked(Arc::from("its task panicked")));
            return;
        }
        self.run.close(CloseRequest::Dropped);
    }
}

impl RunHandle {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Self { run, event: EmitState::done(), ended: false }
    }

    /// The run's end is decided, so the drop of this need not close it.
    pub(super) fn let_go(mut self) {
        self.ended = true;
    }

    #[inline(always)]
    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Keeps an event for the next poll.
    #[inline(always)]
    fn put(&mut self, event: PendingEvent, by_hand: bool) {
        match self.event.event {
            // There is nothing to drop.
            PendingEvent::Sent => {
                let new = EmitState::new(event, by_hand);
                core::mem::forget(core::mem::replace(&mut self.event, new));
            }
            _ => self.overtake(event, by_hand),
        }
    }

    /// The event before has not been accepted.
    #[cold]
    fn overtake(&mut self, event: PendingEvent, by_hand: bool) {
        // That of an `Emit` has not happened: the `Emit` was leaked.
        if let Stage::New { by_hand: true } = self.event.stage {
            // The runtime emits it first. If the run is closed, the next event says so.
            let _ = self.run.send_to_inbox(&mut self.event);
        }
        self.event = EmitState::new(event, by_hand);
    }

    /// Polls the event that was begun last.
    #[inline]
    pub(crate) fn poll_sent(
        &mut self,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), EmitError>> {
        match self.event.is_done() {
            true => Poll::Ready(Ok(())),
            false => self.run.poll_emit(&mut self.event, remote, cx),
        }
    }

    /// The emitter has dropped its event. If it is accepted, the runtime goes on with it.
    #[cold]
    pub(super) fn give_up(&mut self) {
        let EmitState { stage, event } = core::mem::replace(&mut self.event, EmitState::done());
        if let Stage::Accepted(_) = stage {
            self.run.request(HAND_OVER);
        }
        // A payload is the user's.
        drop_quietly(event);
    }

    #[inline(always)]
    pub(crate) fn emit<E: Into<PendingEvent>>(
        &mut self,
        kind: EventKind,
        make: impl FnOnce() -> E,
    ) -> Emit<'_> {
        if !self.run.is_enabled(kind) {
            return Emit { handle: None };
        }
        self.put(make().into(), false);
        Emit { handle: Some(self) }
    }

    pub(crate) fn start_send<E: Into<PendingEvent>>(
        &mut self,
        kind: EventKind,
        make: impl FnOnce() -> E,
    ) {
        if self.run.is_enabled(kind) {
            self.put(make().into(), true);
        }
    }

    /// Begins to emit the run's start. No handler wants another event before that.
    pub(super) fn begin_start(&mut self, start: Box<Event>) {
        if self.run().setup.has_handlers() {
            self.put(PendingEvent::Other(start), true);
        }
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
    /// The run's result is what its tokens make together. It is kept whole. Ready when that is noted.
    pub(crate) fn poll_keep_result(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<()> {
        let noted = self.cell_or_register(&self.emitter, EMITTER, cx, |state, _| {
            if state.phase == Phase::Open {
                state.keeps_result = true;
                self.rebuild_interest(state);
            }
        });
        // The task that makes this call may hold the cell until it returns.
        if noted.is_some() || is_in_call() { Poll::Ready(()) } else { Poll::Pending }
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
            /// polls it to its end. If the run's next event is emitted before that, this one comes
            /// first. At most 64 events wait in that way. Further ones are dropped and counted. If the
            /// run ends before the first `poll_flush`, the event has not happened.
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
                self.0.poll_sent(false, cx)
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
