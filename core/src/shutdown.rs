//! Ending it all: open runs are waited for, then closed; what is queued is delivered; what could not be is told.

use alloc::sync::Arc;
use core::future::Future;
use core::time::Duration;

use futures_util::future::{Either, join_all, select};

use crate::contain::Contained;
use crate::engine::Engine;
use crate::error::RunError;
use crate::runtime::Timer;
use crate::scope::Closing;
use crate::stats::ShutdownReport;

pub(crate) async fn shut_down(engine: Arc<Engine>, timer: Arc<dyn Timer>, deadline: Duration) -> ShutdownReport {
    engine.drain();
    within(&timer, deadline, engine.all_ended()).await;
    let closing = engine.shut_down();
    let closing = closing
        .iter()
        .filter_map(|run| Closing::of(run, |stopped_by| stopped_by.map_or(RunError::Cancelled, RunError::Stopped)));
    let closing: alloc::vec::Vec<_> = closing.collect();
    let closed_runs = engine.count_closed(closing.len());
    if !closing.is_empty() {
        // In one task, in this order; and one that goes on, whatever becomes of us.
        engine.spawn(async {
            join_all(closing.into_iter().map(Closing::deliver)).await;
        });
    }
    within(&timer, deadline, engine.flush()).await;
    ShutdownReport {
        closed_runs,
        handlers: engine.handlers().iter().map(|handler| handler.stats()).collect(),
    }
}

/// Waits for a future, but not for longer than that.
async fn within(timer: &Arc<dyn Timer>, most: Duration, future: impl Future<Output = ()>) {
    let future = core::pin::pin!(future);
    // A timer whose runtime is gone may panic: then the time is up.
    let sleep = core::pin::pin!(Contained::new(timer.sleep(most)));
    match select(future, sleep).await {
        Either::Left(((), _)) | Either::Right((_, _)) => {}
    }
}
