//! Flush and shutdown.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use futures_util::future::{Either, select};

use super::{CallbackManager, on_shutdown};
use crate::dispatch::is_in_call;
use crate::handler::ShutdownReport;
use crate::model::error::EmitError;
use crate::run::Engine;
use crate::runtime::BoxFuture;
use crate::util::{CatchUnwind, WaitGroup, WakerKey};

impl CallbackManager {
    /// Waits until all that was emitted before this call is handled, by every handler. That
    /// includes calls whose emitter was dropped, what is queued, and the ends of runs that were
    /// dropped. Events that are emitted later are not waited for.
    ///
    /// It covers every manager that came of the same [`new`](Self::new). It blocks no thread.
    /// Dropping it has no effect. It does not wait for an end that is kept because a call has timed
    /// out and has not returned. It waits for an event whose [`Emit`](crate::Emit) or
    /// [`Start`](crate::Start) was leaked until the run's next event or its end. A leaked start has
    /// neither before a shutdown.
    ///
    /// # Errors
    /// [`EmitError::InsideCall`] inside a handler's call: it would wait for that call.
    pub fn flush(&self) -> Flush {
        let engine = self.setup.engine.clone();
        let group = (!is_in_call()).then(|| engine.flush());
        Flush { engine, group }
    }

    /// Ends all work of every manager that came of the same [`new`](Self::new).
    ///
    /// From here on, runs start under open runs only. It waits until no run is open, for
    /// `deadline` at most. Then it closes the runs that are left, children first, as
    /// [`RunError::Cancelled`](crate::RunError::Cancelled). Instrumented futures and streams inside
    /// them resolve with an error and drop what they wrap. Then it waits until all events are
    /// handled, for at most `deadline` again. It also waits for a call that has timed out, because
    /// ends are kept until that call returns. At last it does the work that was set with
    /// [`on_shutdown`](Self::on_shutdown), for at most `deadline` again. Its output is a report for
    /// each handler.
    ///
    /// Afterwards every start and event is [`EmitError::ShutDown`], and has not happened. Runs
    /// without handlers are neither waited for nor refused.
    ///
    /// It blocks no thread. Dropped, it leaves things as they are. Called again, it goes on from
    /// there.
    ///
    /// # Errors
    /// [`EmitError::InsideCall`] inside a handler's call, and [`EmitError::NoTimer`] if the manager
    /// has no timer.
    pub fn shutdown(&self, deadline: Duration) -> Shutdown {
        let engine = self.setup.engine.clone();
        let future: Result<_, EmitError> = if is_in_call() {
            Err(EmitError::InsideCall)
        } else if engine.runtime.timer().is_none() {
            Err(EmitError::NoTimer)
        } else {
            Ok(Box::pin(shut_down(engine.clone(), deadline)) as BoxFuture<'static, _>)
        };
        Shutdown { engine, future }
    }
}

/// Waits until all that was emitted before is handled: see [`CallbackManager::flush`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Flush {
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "only `wait` needs it"))]
    engine: Arc<Engine>,
    /// Absent inside a handler's call.
    group: Option<Arc<WaitGroup>>,
}

impl Future for Flush {
    type Output = Result<(), EmitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.group {
            Some(group) if !is_in_call() => group.poll(cx).map(Ok),
            _ => Poll::Ready(Err(EmitError::InsideCall)),
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if let Some(group) = &self.group {
            group.forget_waiter();
        }
    }
}

impl fmt::Debug for Flush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").finish_non_exhaustive()
    }
}

/// Ends all work: see [`CallbackManager::shutdown`].
#[must_use = "futures do nothing unless they are awaited"]
pub struct Shutdown {
    #[cfg_attr(not(feature = "std"), expect(dead_code, reason = "only `wait` needs it"))]
    engine: Arc<Engine>,
    future: Result<BoxFuture<'static, ShutdownReport>, EmitError>,
}

impl Future for Shutdown {
    type Output = Result<ShutdownReport, EmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.future {
            Ok(_) if is_in_call() => Poll::Ready(Err(EmitError::InsideCall)),
            Ok(future) => future.as_mut().poll(cx).map(Ok),
            Err(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").finish_non_exhaustive()
    }
}

#[cfg(feature = "std")]
impl Flush {
    /// Blocks this thread until all that was emitted before is handled.
    ///
    /// # Errors
    /// Those of the future; [`EmitError::WouldBlock`] on a thread that drives the runtime, as far as
    /// it can tell.
    pub fn wait(self) -> Result<(), EmitError> {
        if self.group.is_some() {
            self.engine.may_wait()?;
        }
        crate::util::block_on(self)
    }
}

#[cfg(feature = "std")]
impl Shutdown {
    /// Blocks this thread until all work has ended.
    ///
    /// # Errors
    /// Those of the future; [`EmitError::WouldBlock`] on a thread that drives the runtime, as far as
    /// it can tell. The shutdown has not begun then.
    pub fn wait(self) -> Result<ShutdownReport, EmitError> {
        if self.future.is_ok() {
            self.engine.may_wait()?;
        }
        crate::util::block_on(self)
    }
}

async fn shut_down(engine: Arc<Engine>, deadline: Duration) -> ShutdownReport {
    engine.drain();
    let mut key = WakerKey::default();
    within(&engine, deadline, poll_fn(|cx| engine.poll_no_runs(&mut key, cx))).await;
    engine.shut_down();
    let open = engine.open_runs();
    let closed_runs = engine.count_closed(open.len());
    // First the marks: a run that its parent closes says that all work ends, too.
    open.iter().for_each(|run| run.mark_shut_down());
    open.iter().for_each(|run| run.shut_down());
    drop(open);
    let delivered = async {
        let flushed = engine.flush();
        poll_fn(|cx| flushed.poll(cx)).await;
        // The ends that are kept because a call has timed out and has not returned.
        let drained = engine.drained();
        poll_fn(|cx| drained.poll(cx)).await;
    };
    within(&engine, deadline, delivered).await;
    let unfinished = on_shutdown::work(&engine, deadline).await;
    // First the runs: an event that leaves a run in between is in a lane then.
    let open_runs = engine.open_runs().len();
    ShutdownReport {
        closed_runs,
        open_runs,
        unfinished,
        handlers: engine.handlers().iter().map(|handler| handler.stats()).collect(),
    }
}

/// Waits for a future, but not for longer than `most`.
pub(super) async fn within(engine: &Engine, most: Duration, future: impl Future<Output = ()>) {
    let Some(timer) = engine.runtime.timer() else { return };
    let future = pin!(future);
    // A timer whose runtime is gone may panic. Then the time is up.
    let sleep = pin!(CatchUnwind::new(async { timer.sleep(most).await }));
    match select(future, sleep).await {
        Either::Left(_) | Either::Right(_) => {}
    }
}
