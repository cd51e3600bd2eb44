//! The tests of [`runtime_suite!`](crate::runtime_suite).
//!
//! Each function here is one test, for a test harness of yours. It panics if the runtime fails the
//! test.

mod contract;
mod promises;

pub use contract::{
    a_job_runs_once_and_not_inside_the_call, a_task_is_dropped_when_it_is_done,
    a_task_is_woken_from_other_threads, every_task_runs_to_its_end, tasks_and_jobs_spawn_others,
};
pub use promises::{
    a_failure_stays_where_it_is, a_flush_waits_for_all, a_shutdown_delivers_and_reports,
    a_tree_ends_from_its_leaves, calls_of_a_sync_handler_do_not_overlap, events_come_in_order,
    events_emitted_in_a_call_are_queued, every_run_ends_once, once_it_is_gone_nothing_waits,
    sync_handlers_are_off_the_loop, what_began_runs_to_its_end,
};

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;
#[doc(hidden)]
pub use futures_executor::block_on as drive;
use futures_util::future::{Either, select};
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner};

/// How long a test of the suite may take before it counts as hung. No test takes this long, even on a
/// busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Runs a test of the suite on this thread.
///
/// # Panics
/// If the test panics, or takes longer than `limit`. A test that blocks this thread cannot be stopped:
/// after twice the limit, the process is aborted.
pub fn block_on(limit: Duration, test: impl Future<Output = ()>) {
    let _watchdog = Watchdog::start(limit);
    drive(within(limit, test));
}

/// Adds a limit to a test of the suite, for an executor of yours that polls the test.
///
/// # Panics
/// If the test panics, or takes longer than `limit`.
pub async fn within(limit: Duration, test: impl Future<Output = ()>) {
    let (ring, rung) = oneshot::channel();
    let alarm = Alarm::start(limit, move || _ = ring.send(()));
    let test = std::pin::pin!(test);
    match select(test, rung).await {
        Either::Left(((), _)) => {}
        // The alarm has no thread.
        Either::Right((Err(_), test)) => test.await,
        Either::Right((Ok(()), _)) => {
            panic!("the test hangs: the runtime neither runs nor drops work that it accepted")
        }
    }
    drop(alarm);
}

/// Aborts the process if a test blocks its thread.
#[derive(Debug)]
pub struct Watchdog(#[allow(dead_code, reason = "its drop is the signal")] Alarm);

impl Watchdog {
    /// Watches a test that has this limit. It aborts the process after twice the limit.
    #[must_use]
    pub fn start(limit: Duration) -> Self {
        let test = thread::current().name().unwrap_or("a test").to_owned();
        Self(Alarm::start(limit * 2, move || {
            eprintln!("{test} blocks its thread: the runtime runs a job there, or waits in a call");
            std::process::abort();
        }))
    }
}

/// Calls a closure after a time, unless it is dropped before.
#[derive(Debug)]
struct Alarm(#[allow(dead_code, reason = "its drop is the signal")] Sender<()>);

impl Alarm {
    fn start(after: Duration, call: impl FnOnce() + Send + 'static) -> Self {
        let (alive, watched): (_, Receiver<()>) = channel();
        thread::spawn(move || {
            if watched.recv_timeout(after) == Err(RecvTimeoutError::Timeout) {
                call();
            }
        });
        Self(alive)
    }
}

/// The runtime under test. Clones share it.
struct Shared<R>(Arc<R>);

impl<R> Shared<R> {
    fn new(runtime: R) -> Self {
        Self(Arc::new(runtime))
    }
}

impl<R: Spawner + BlockingExecutor> Shared<R> {
    /// Whether blocking jobs have their own threads.
    fn has_threads(&self) -> bool {
        !self.0.linger().is_zero()
    }

    /// Runs a future as a task, and returns its output.
    fn go<F>(&self, what: &str, future: F) -> impl Future<Output = F::Output> + use<F, R>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (done, output) = oneshot::channel();
        let task = async move {
            let _ = done.send(future.await);
        };
        self.0
            .spawn_boxed(Box::pin(task))
            .unwrap_or_else(|error| panic!("{what}: the runtime accepts no task: {error}"));
        let lost = format!("{what}: the runtime dropped an accepted task before it was ready");
        async move { output.await.unwrap_or_else(|_| panic!("{lost}")) }
    }
}

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Spawner> Spawner for Shared<R> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

impl<R: BlockingExecutor> BlockingExecutor for Shared<R> {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.0.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        self.0.linger()
    }
}

impl<R> fmt::Debug for Shared<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// Makes a module `runtime_suite` of tests, which check that a runtime keeps the contract of its traits
/// and that the promises of rappel hold on it.
///
/// The runtime is an expression. Each test evaluates it:
///
/// ```
/// # mod tests {
/// use rappel_threads::Threads;
///
/// rappel_testkit::runtime_suite!(Threads::new());
/// # }
/// ```
///
/// If the runtime can be shut down, pass a closure that does it. A further test then checks that
/// nothing waits for a runtime that is gone:
///
/// ```
/// # mod tests {
/// use rappel_threads::Threads;
///
/// rappel_testkit::runtime_suite!(Threads::new(), shut_down: |threads| threads.shut_down());
/// # }
/// ```
///
/// If the runtime has to be driven, pass a closure that runs a test. `body` is a function from the
/// runtime to the test's future:
///
/// ```
/// # mod tests {
/// use futures_executor::ThreadPool;
/// use rappel_core::FromFuturesSpawn;
/// use rappel_threads::Threads;
///
/// rappel_testkit::runtime_suite!(|body| {
///     let threads = Threads::new();
///     let pool = ThreadPool::new().expect("a pool");
///     threads.block_on(body((FromFuturesSpawn(pool), threads.clone())));
/// });
/// # }
/// ```
///
/// A test that takes a minute counts as hung. Jobs may share the thread of tasks only if the
/// executor's [`linger`](rappel_core::BlockingExecutor::linger) is zero.
#[macro_export]
macro_rules! runtime_suite {
    (@driven |$body:ident| $drive:expr; $($test:ident)+) => {$(
        #[test]
        fn $test() {
            let _watchdog = $crate::suite::Watchdog::start($crate::suite::LIMIT);
            let $body = |runtime| $crate::suite::within($crate::suite::LIMIT, $crate::suite::$test(runtime));
            $drive
        }
    )+};
    (|$body:ident| $drive:expr $(,)?) => {
        #[cfg(test)]
        mod runtime_suite {
            #[allow(unused_imports, reason = "the expression may use no name of its module")]
            use super::*;

            $crate::runtime_suite!(@driven |$body| $drive;
                every_task_runs_to_its_end
                a_task_is_dropped_when_it_is_done
                a_task_is_woken_from_other_threads
                a_job_runs_once_and_not_inside_the_call
                tasks_and_jobs_spawn_others
                events_come_in_order
                every_run_ends_once
                a_flush_waits_for_all
                a_failure_stays_where_it_is
                what_began_runs_to_its_end
                sync_handlers_are_off_the_loop
                calls_of_a_sync_handler_do_not_overlap
                a_tree_ends_from_its_leaves
                events_emitted_in_a_call_are_queued
                a_shutdown_delivers_and_reports
            );
        }
    };
    ($runtime:expr $(,)?) => {
        $crate::runtime_suite!(|body| $crate::suite::drive(body($runtime)));
    };
    ($runtime:expr, shut_down: $shut_down:expr $(,)?) => {
        $crate::runtime_suite!($runtime);

        #[cfg(test)]
        mod runtime_that_is_gone {
            #[allow(unused_imports, reason = "the expression may use no name of its module")]
            use super::*;

            #[test]
            fn once_it_is_gone_nothing_waits() {
                let test = $crate::suite::once_it_is_gone_nothing_waits($runtime, $shut_down);
                $crate::suite::block_on($crate::suite::LIMIT, test);
            }
        }
    };
}
