//! Runtimes that are broken in one way each: the suite fails on them, where one would look for it.

use std::mem::forget;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use futures_executor::block_on;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Threads};
use rappel_testkit::suite;
use rappel_tests::runtimes::Watchdog;

/// Plain threads, with a fault in them.
struct Broken {
    threads: Threads,
    fault: Fault,
    given: AtomicUsize,
    made_on: ThreadId,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    DropsEveryTask,
    DropsEveryThirdTask,
    DropsEveryThirdJob,
    RefusesWhatOtherThreadsGive,
    RunsJobsOnTheCallersThread,
    LeaksTasksThatAreDone,
    ForgetsWhoIsWokenFromElsewhere,
    KeepsTasksWhenItIsShutDown,
}

impl Broken {
    fn new(fault: Fault) -> Self {
        Self {
            threads: Threads::new(),
            fault,
            given: AtomicUsize::new(0),
            made_on: thread::current().id(),
        }
    }

    fn is_third(&self) -> bool {
        self.given.fetch_add(1, Ordering::SeqCst) % 3 == 2
    }
}

impl Spawner for Broken {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        match self.fault {
            Fault::DropsEveryTask => Ok(()),
            Fault::DropsEveryThirdTask if self.is_third() => Ok(()),
            Fault::RefusesWhatOtherThreadsGive if thread::current().id() != self.made_on => Err(SpawnError::shutdown()),
            Fault::LeaksTasksThatAreDone => self.threads.spawn_boxed(Box::pin(leaking(task))),
            Fault::ForgetsWhoIsWokenFromElsewhere => self.threads.spawn_boxed(Box::pin(deaf(task))),
            Fault::KeepsTasksWhenItIsShutDown => self.threads.spawn_boxed(Box::pin(Clinging(Some(task)))),
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

/// Passes on what its own thread wakes only.
async fn deaf(mut task: BoxFuture<'static, ()>) {
    struct Deaf(Waker, ThreadId);

    impl Wake for Deaf {
        fn wake(self: Arc<Self>) {
            if thread::current().id() == self.1 {
                self.0.wake_by_ref();
            }
        }
    }

    std::future::poll_fn(|cx| {
        let waker = Waker::from(Arc::new(Deaf(cx.waker().clone(), thread::current().id())));
        task.as_mut().poll(&mut Context::from_waker(&waker))
    })
    .await;
}

/// A task that is leaked where it is dropped before its end.
struct Clinging(Option<BoxFuture<'static, ()>>);

impl Future for Clinging {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let poll = self.0.as_mut().map_or(Poll::Ready(()), |task| task.as_mut().poll(cx));
        if poll.is_ready() {
            self.0 = None;
        }
        poll
    }
}

impl Drop for Clinging {
    fn drop(&mut self) {
        forget(self.0.take());
    }
}

/// Where a test that hangs is given up: these are to fail, and a good one has the suite's own limit.
const SOON: Duration = Duration::from_millis(500);

macro_rules! tests_of_the_suite {
    ($($test:ident)+) => {
        const TESTS: &[&str] = &[$(stringify!($test),)+ "once_it_is_gone_nobody_waits"];

        /// The tests of the suite that fail with that fault.
        fn failing(fault: Fault) -> Vec<&'static str> {
            let _watchdog = Watchdog::start(&format!("{fault:?}"));
            let limit = if fault == Fault::None { suite::LIMIT } else { SOON };
            let gone = || suite::once_it_is_gone_nobody_waits(Broken::new(fault), |broken| broken.threads.shut_down());
            let outcomes = thread::scope(|scope| {
                let tests = [
                    $(scope.spawn(|| block_on(suite::within(limit, suite::$test(Broken::new(fault))))),)+
                    scope.spawn(|| block_on(suite::within(limit, gone()))),
                ];
                tests.map(|test| test.join().is_err())
            });
            TESTS.iter().zip(outcomes).filter_map(|(test, fails)| fails.then_some(*test)).collect()
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
    a_shutdown_delivers_and_tells
}

#[test]
fn a_good_runtime_passes() {
    assert_eq!(failing(Fault::None), [""; 0]);
}

/// Each fault is found by the test where one would look for it, among others; and each test finds some fault.
#[test]
fn every_fault_is_found_where_one_would_look_for_it() {
    let found_by: [(Fault, &[&str]); 8] = [
        (Fault::DropsEveryTask, &["every_task_runs_to_its_end", "what_began_runs_to_its_end"]),
        (Fault::DropsEveryThirdTask, &["every_task_runs_to_its_end", "events_come_in_order"]),
        (Fault::DropsEveryThirdJob, &["a_job_runs_once_and_not_inside_the_call"]),
        (Fault::RefusesWhatOtherThreadsGive, &["tasks_and_jobs_spawn_others"]),
        (
            Fault::RunsJobsOnTheCallersThread,
            &["a_job_runs_once_and_not_inside_the_call", "sync_handlers_are_off_the_loop"],
        ),
        (Fault::LeaksTasksThatAreDone, &["a_task_is_dropped_when_it_is_done"]),
        (Fault::ForgetsWhoIsWokenFromElsewhere, &["a_task_is_woken_from_other_threads"]),
        (Fault::KeepsTasksWhenItIsShutDown, &["once_it_is_gone_nobody_waits"]),
    ];
    let mut idle = TESTS.to_vec();
    for (fault, tests) in found_by {
        let failing = failing(fault);
        for test in tests {
            assert!(failing.contains(test), "{fault:?} is not found by {test}, but by {failing:?}");
        }
        idle.retain(|test| !failing.contains(test));
    }
    assert_eq!(idle, [""; 0], "these find nothing");
}
