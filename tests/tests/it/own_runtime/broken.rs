//! Runtimes with one fault each. The suite finds each fault, in the test that is about it.

use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_executor::block_on;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner};
use rappel_testkit::suite;
use rappel_tests::runtimes::Watchdog;
use rappel_threads::Threads;

/// `Threads` with a fault.
struct Broken {
    threads: Threads,
    fault: Fault,
    spawned: AtomicUsize,
    made_on: ThreadId,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    DropsEveryTask,
    DropsEveryThirdTask,
    DropsEveryThirdJob,
    RefusesTasksOfOtherThreads,
    RunsJobsOnTheCallersThread,
    LeaksReadyTasks,
    IgnoresWakersOnOtherThreads,
    KeepsTasksAfterShutdown,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self {
            threads: Threads::new(),
            fault,
            spawned: AtomicUsize::new(0),
            made_on: thread::current().id(),
        }
    }

    fn is_third(&self) -> bool {
        self.spawned.fetch_add(1, Ordering::SeqCst) % 3 == 2
    }
}

impl Spawner for Broken {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        match self.fault {
            Fault::DropsEveryTask => Ok(()),
            Fault::DropsEveryThirdTask if self.is_third() => Ok(()),
            Fault::RefusesTasksOfOtherThreads if thread::current().id() != self.made_on => {
                Err(SpawnError::shutdown())
            }
            Fault::LeaksReadyTasks => self.threads.spawn_boxed(Box::pin(leaking(task))),
            Fault::IgnoresWakersOnOtherThreads => {
                self.threads.spawn_boxed(Box::pin(woken_on_its_thread(task)))
            }
            Fault::KeepsTasksAfterShutdown => {
                self.threads.spawn_boxed(Box::pin(Undroppable(Some(task))))
            }
            _ => self.threads.spawn_boxed(task),
        }
    }
}

impl BlockingExecutor for Broken {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        match self.fault {
            Fault::DropsEveryThirdJob if self.is_third() => Ok(()),
            Fault::RunsJobsOnTheCallersThread => {
                job();
                Ok(())
            }
            _ => self.threads.spawn_blocking_boxed(job),
        }
    }
}

async fn leaking(mut task: BoxFuture<'static, ()>) {
    std::future::poll_fn(|cx| task.as_mut().poll(cx)).await;
    forget(task);
}

/// Ignores its waker on other threads than the one that polled it.
async fn woken_on_its_thread(mut task: BoxFuture<'static, ()>) {
    struct ThreadWaker(Waker, ThreadId);

    impl Wake for ThreadWaker {
        fn wake(self: Arc<Self>) {
            if thread::current().id() == self.1 {
                self.0.wake_by_ref();
            }
        }
    }

    std::future::poll_fn(|cx| {
        let waker = ThreadWaker(cx.waker().clone(), thread::current().id());
        let waker = Waker::from(Arc::new(waker));
        task.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await;
}

/// A task that is leaked if it is dropped before it is ready.
struct Undroppable(Option<BoxFuture<'static, ()>>);

impl Future for Undroppable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.0.as_mut();
        let poll = task.map_or(Poll::Ready(()), |task| task.as_mut().poll(cx));
        if poll.is_ready() {
            self.0 = None;
        }
        poll
    }
}

impl Drop for Undroppable {
    fn drop(&mut self) {
        forget(self.0.take());
    }
}

/// The limit of a test on a runtime with a fault. It is expected to fail, perhaps by hanging.
const SOON: Duration = Duration::from_millis(500);

macro_rules! tests_of_the_suite {
    ($($test:ident)+) => {
        const TESTS: &[&str] = &[$(stringify!($test),)+ "once_it_is_gone_nothing_waits"];

        /// The tests of the suite that fail on a runtime with this fault.
        fn failing(fault: Fault) -> Vec<&'static str> {
            let _watchdog = Watchdog::start(&format!("{fault:?}"));
            let limit = if fault == Fault::None { suite::LIMIT } else { SOON };
            let gone = || {
                let shut_down = |broken: &Broken| broken.threads.shut_down();
                suite::once_it_is_gone_nothing_waits(Broken::new(fault), shut_down)
            };
            let outcomes = thread::scope(|scope| {
                let tests = [
                    $(scope.spawn(|| {
                        block_on(suite::within(limit, suite::$test(Broken::new(fault))))
                    }),)+
                    scope.spawn(|| block_on(suite::within(limit, gone()))),
                ];
                tests.map(|test| test.join().is_err())
            });
            let outcomes = TESTS.iter().zip(outcomes);
            outcomes.filter_map(|(test, fails)| fails.then_some(*test)).collect()
        }
    };
}
tests_of_the_suite! {
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
}

#[test]
fn a_good_runtime_passes() {
    assert_eq!(failing(Fault::None), [""; 0]);
}

/// Other tests may find the fault too. Each test of the suite finds some fault.
#[test]
fn the_test_about_a_fault_finds_it() {
    let found_by: [(Fault, &[&str]); 8] = [
        (
            Fault::DropsEveryTask,
            &[
                "every_task_runs_to_its_end",
                "what_began_runs_to_its_end",
                "events_emitted_in_a_call_are_queued",
            ],
        ),
        (
            Fault::DropsEveryThirdTask,
            &["every_task_runs_to_its_end", "events_come_in_order", "a_tree_ends_from_its_leaves"],
        ),
        (Fault::DropsEveryThirdJob, &["a_job_runs_once_and_not_inside_the_call"]),
        (
            Fault::RefusesTasksOfOtherThreads,
            &["tasks_and_jobs_spawn_others", "events_emitted_in_a_call_are_queued"],
        ),
        (
            Fault::RunsJobsOnTheCallersThread,
            &["a_job_runs_once_and_not_inside_the_call", "sync_handlers_are_off_the_loop"],
        ),
        (Fault::LeaksReadyTasks, &["a_task_is_dropped_when_it_is_done"]),
        (Fault::IgnoresWakersOnOtherThreads, &["a_task_is_woken_from_other_threads"]),
        (Fault::KeepsTasksAfterShutdown, &["once_it_is_gone_nothing_waits"]),
    ];
    let mut idle = TESTS.to_vec();
    for (fault, tests) in found_by {
        let failing = failing(fault);
        for test in tests {
            assert!(failing.contains(test), "{fault:?} is not found by {test}, but by {failing:?}");
        }
        idle.retain(|test| !failing.contains(test));
    }
    assert_eq!(idle, [""; 0], "these tests find no fault");
}
