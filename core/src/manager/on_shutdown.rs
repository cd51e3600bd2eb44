//! Work that a shutdown does when all events are handled.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::error::Error;
use core::future::poll_fn;
use core::time::Duration;

use super::CallbackManager;
use super::flush::within;
use crate::run::Engine;
use crate::util::{Mutex, WaitGroup, WaitGuard, catch_unwind};

impl CallbackManager {
    /// Sets work that a [`shutdown`](Self::shutdown) does when all events are handled: sending what
    /// a handler has kept, for example.
    ///
    /// It is called on the runtime's [`BlockingExecutor`](crate::BlockingExecutor), so it may block,
    /// with the deadline of the shutdown. Several such works are done side by side. The shutdown
    /// waits for them for `deadline` at most. A work that fails, panics or takes longer is named in
    /// [`ShutdownReport::unfinished`](crate::ShutdownReport::unfinished). If `shutdown` is called
    /// again, so is the work.
    ///
    /// It belongs to all managers that came of the same [`new`](Self::new).
    #[must_use]
    pub fn on_shutdown<F>(self, work: F) -> Self
    where
        F: Fn(Duration) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    {
        self.setup.engine.on_shutdown(Arc::new(work));
        self
    }
}

/// Does the work. Returns what is said of each that did not succeed.
pub(super) async fn work(engine: &Engine, deadline: Duration) -> Vec<String> {
    let group = Arc::new(WaitGroup::new());
    let outcomes: Vec<_> = engine
        .shutdown_works()
        .into_iter()
        .map(|work| {
            let outcome =
                Arc::new(Mutex::new(Err(String::from("it was not done, or did not end in time"))));
            let (result, guard) = (outcome.clone(), WaitGuard::new(&group));
            let job = Box::new(move || {
                let done = catch_unwind(|| work(deadline).map_err(|error| error.to_string()));
                let done = done.unwrap_or_else(|panic| Err(alloc::format!("it panicked: {panic}")));
                result.with(|result| *result = done);
                drop(guard);
            });
            let accepted = catch_unwind(|| engine.runtime.spawn_blocking_boxed(job));
            if !matches!(accepted, Ok(Ok(()))) {
                outcome.with(|outcome| *outcome = Err("the runtime was shut down before".into()));
            }
            outcome
        })
        .collect();
    within(engine, deadline, poll_fn(|cx| group.poll(cx))).await;
    let failure = |outcome: &Arc<Mutex<Result<(), String>>>| outcome.with(|o| o.clone().err());
    outcomes.iter().filter_map(failure).collect()
}
