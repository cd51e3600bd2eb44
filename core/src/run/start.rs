//! The futures that starting a run returns.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;

use super::handle::RunHandle;
use super::state::{Phase, Run, Stamp, State};
use crate::dispatch::is_too_deep;
use crate::model::error::EmitError;
use crate::model::event::{Event, ToolStart};
use crate::model::run_info::{RunId, RunKind};

/// Starts a run. Ready with the run when all awaited handlers have handled its start.
///
/// The run starts at the first poll. Dropped after that, it ends as cancelled. A start that raises
/// is an error, and its run ends as stopped: use [`keep`](Self::keep) to go on with the run.
///
/// # Errors
/// Those of [`Emit`](crate::Emit); [`EmitError::ShutDown`] after a shutdown;
/// [`EmitError::DuplicateRunId`] if an open run has the id that was given.
#[must_use = "a run starts when its start is awaited"]
pub struct Start<Run>(pub(super) Kept<Run>);

/// Starts a run and keeps it, whatever its start raises: see [`Start::keep`].
///
/// Its output is the run, and what its start raised. A run whose start was refused is closed.
#[must_use = "a run starts when its start is awaited"]
pub struct Kept<Run> {
    pub(super) handle: Option<RunHandle>,
    /// The start and the id that was given, before the first poll.
    new: Option<(Box<Event>, Option<RunId>)>,
    kind: PhantomData<fn() -> Run>,
}

impl<R> Start<R> {
    /// `time` is when the run started, if that was given.
    pub(crate) fn new(
        run: Arc<Run>,
        event: Event,
        chosen_id: Option<RunId>,
        time: Option<Duration>,
    ) -> Self {
        if time.is_some() {
            let stamp = Stamp { kind: event.kind(), time, recorded: None };
            // Nothing else has the run yet, so the cell is free.
            run.try_cell(|state| state.rare().stamp = Some(Box::new(stamp)));
        }
        Self(Kept {
            handle: Some(RunHandle::new(run)),
            new: Some((Box::new(event), chosen_id)),
            kind: PhantomData,
        })
    }

    /// The same start of a run of any kind.
    pub(crate) fn untyped(mut self) -> Start<RunHandle> {
        let Kept { handle, new, .. } = &mut self.0;
        Start(Kept { handle: handle.take(), new: new.take(), kind: PhantomData })
    }

    /// Keeps the run if its start raises.
    pub fn keep(self) -> Kept<R> {
        self.0
    }
}

impl<R> Kept<R> {
    pub(super) fn poll_start(
        &mut self,
        remote: bool,
        cx: &mut Context<'_>,
    ) -> Poll<(RunHandle, Result<(), EmitError>)> {
        let Self { handle: Some(handle), new, .. } = self else {
            panic!("a start was polled after it was ready")
        };
        let mut opened = Ok(());
        if let Some((event, chosen_id)) = new.take() {
            opened = handle.run().open_for(&event, chosen_id);
            match &opened {
                Ok(()) => handle.begin_start(event),
                Err(error) => handle.run().refuse(error),
            }
        }
        let result = match opened {
            Ok(()) => ready!(handle.poll_sent(remote, cx)),
            refused => refused,
        };
        let handle = self.handle.take();
        Poll::Ready((handle.expect("it was there a few lines ago"), result))
    }
}

impl<R: From<RunHandle>> Future for Start<R> {
    type Output = Result<R, EmitError>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (handle, result) = ready!(self.0.poll_start(false, cx));
        Poll::Ready(result.map(|()| R::from(handle)))
    }
}

impl<R: From<RunHandle>> Future for Kept<R> {
    type Output = (R, Result<(), EmitError>);

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (handle, result) = ready!(self.poll_start(false, cx));
        Poll::Ready((R::from(handle), result))
    }
}

impl<R> fmt::Debug for Start<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("ready", &self.0.handle.is_none()).finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Kept<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("ready", &self.handle.is_none()).finish_non_exhaustive()
    }
}

impl Run {
    /// Opens the run for its start.
    fn open_for(
        self: &Arc<Self>,
        start: &Event,
        chosen_id: Option<RunId>,
    ) -> Result<(), EmitError> {
        if is_too_deep() && self.setup.has_handlers() {
            return Err(EmitError::TooDeep);
        }
        let opened = self.open(|state| {
            let parent = self.setup.parent.as_ref().filter(|_| !self.is_detached());
            let weak: Weak<Self> = Arc::downgrade(self);
            let attached = parent.is_some_and(|parent| self.node.attach(parent, weak));
            let nested = attached || self.node.nested;
            if self.setup.has_handlers() || chosen_id.is_some() {
                let entry = self.setup.engine.register_run(self, nested, chosen_id)?;
                state.entry = Some(entry);
            }
            if let Event::ToolStart(ToolStart { tool_call_id: Some(id), .. }) = start {
                state.rare().tool_call_id = Some(id.clone());
            }
            Ok(())
        });
        if opened.is_err() {
            self.node.detach();
        }
        opened
    }

    /// Closes the run, because its start was refused.
    fn refuse(self: &Arc<Self>, error: &EmitError) {
        self.try_cell(|state| {
            if state.phase == Phase::NotStarted {
                state.phase = Phase::Closed;
                state.shut_down = matches!(error, EmitError::ShutDown);
            }
        });
        self.enable_all();
    }

    /// Whether the parent does not wait for the run.
    fn is_detached(&self) -> bool {
        let info = &self.node.info;
        self.setup.detached || self.node.nested || info.has_remote_parent() || info.is_replayed()
    }

    /// Opens the run, which `register` makes known to other tasks.
    pub(super) fn open(
        self: &Arc<Self>,
        register: impl FnOnce(&mut State) -> Result<(), EmitError>,
    ) -> Result<(), EmitError> {
        // The cell is held before another task knows of the run. What a flush, a parent or a shutdown
        // asks meanwhile is attended to when the cell is released.
        let opened = self.try_cell(|state| {
            if state.phase != Phase::NotStarted {
                return Err(EmitError::RunClosed);
            }
            register(state)?;
            state.phase = Phase::Open;
            state.started = self.node.info.kind() == RunKind::None;
            if self.setup.has_handlers() {
                self.rebuild_interest(state);
            }
            Ok(())
        });
        opened.unwrap_or(Err(EmitError::RunClosed))
    }
}
