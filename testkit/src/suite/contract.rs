//! The contract of `Spawner` and `BlockingExecutor`.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll};
use std::thread;

use futures_channel::oneshot;
use rappel_core::{BlockingExecutor, Spawner};

use super::Shared;

/// Number of tasks, or of jobs, at a time.
const MANY: usize = 100;

/// The runtime polls each accepted task until it is ready.
///
/// # Panics
/// If the runtime drops a task before.
pub async fn every_task_runs_to_its_end<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let spawn = |number| runtime.go("one of many tasks", async move { number });
    let tasks: Vec<_> = (0..MANY).map(spawn).collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await, number);
    }
}

/// The runtime drops a task that is ready.
///
/// # Panics
/// If the runtime keeps the task. A task that is leaked makes the test hang.
pub async fn a_task_is_dropped_when_it_is_done<R: Spawner + BlockingExecutor>(runtime: R) {
    // An `async` block drops its own values when it is ready. A hand-written future does not.
    struct Done(#[allow(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>);

    impl Future for Done {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    let runtime = Shared::new(runtime);
    let (kept, dropped) = oneshot::channel();
    let spawned = runtime.spawn_boxed(Box::pin(Done(kept)));
    assert_eq!(spawned, Ok(()), "the runtime accepts no task");
    assert!(dropped.await.is_err(), "the runtime keeps a ready task");
}

/// The runtime polls a pending task again when any thread wakes it, also during a poll.
///
/// # Panics
/// If the runtime drops a task. A task that is not polled again makes the test hang.
pub async fn a_task_is_woken_from_other_threads<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (mut wakers, mut tasks) = (Vec::new(), Vec::new());
    for number in 0..MANY {
        let (wake, woken) = oneshot::channel();
        let (polled, pending) = channel();
        // Every other task is certainly pending when it is woken. The others may be in any state.
        wakers.push((wake, number, pending, number % 2 == 0));
        tasks.push(runtime.go("a pending task", reports_pending(woken, polled)));
    }
    let other = thread::spawn(move || {
        for (wake, number, pending, is_pending) in wakers {
            if is_pending {
                let _ = pending.recv();
            }
            let _ = wake.send(number);
        }
    });
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await, Ok(number));
    }
    other.join().expect("a thread that wakes");
    let mut polls = 0;
    let yields = poll_fn(move |cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        if polls < MANY { Poll::Pending } else { Poll::Ready(polls) }
    });
    assert_eq!(runtime.go("a task that wakes itself", yields).await, MANY);
}

/// The future, with a message after each poll that was pending.
async fn reports_pending<F: Future>(future: F, polled: Sender<()>) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let poll = future.as_mut().poll(cx);
        if poll.is_pending() {
            let _ = polled.send(());
        }
        poll
    })
    .await
}

/// The executor runs each accepted job once, and never inside the call that submits it. Unless its
/// `linger` is zero, it runs the job on another thread than the caller's.
///
/// # Panics
/// If a job is lost, or runs in the wrong place.
pub async fn a_job_runs_once_and_not_inside_the_call<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (caller, is_submitting) = (thread::current().id(), Arc::new(AtomicBool::new(false)));
    let ran = Arc::new(AtomicUsize::new(0));
    let mut jobs = Vec::new();
    for _ in 0..MANY {
        let (done, finished) = oneshot::channel();
        let (ran, submitting) = (ran.clone(), is_submitting.clone());
        is_submitting.store(true, Ordering::SeqCst);
        let submitted = runtime.spawn_blocking_boxed(Box::new(move || {
            ran.fetch_add(1, Ordering::SeqCst);
            let is_here = thread::current().id() == caller;
            let _ = done.send((is_here, is_here && submitting.load(Ordering::SeqCst)));
        }));
        is_submitting.store(false, Ordering::SeqCst);
        assert_eq!(submitted, Ok(()), "the runtime accepts no job");
        jobs.push(finished);
    }
    for job in jobs {
        let (is_here, is_inside) = job.await.expect("the runtime dropped an accepted job");
        assert!(!is_inside, "the runtime runs a job inside the call that submits it");
        assert!(
            !(is_here && runtime.has_threads()),
            "a job runs on its caller's thread, and `linger` is not zero"
        );
    }
    assert_eq!(ran.load(Ordering::SeqCst), MANY);
}

/// Tasks and jobs can spawn tasks and jobs.
///
/// # Panics
/// If one of them is not accepted, or is lost.
pub async fn tasks_and_jobs_spawn_others<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let inner = runtime.clone();
    let outer = async move {
        let (done, finished) = oneshot::channel();
        let innermost = inner.clone();
        let job = move || {
            let task = async move {
                let _ = done.send(());
            };
            let spawned = innermost.spawn_boxed(Box::pin(task));
            assert_eq!(spawned, Ok(()), "the runtime accepts no task from a job");
        };
        let spawned = inner.spawn_blocking_boxed(Box::new(job));
        assert_eq!(spawned, Ok(()), "the runtime accepts no job from a task");
        finished.await
    };
    let finished = runtime.go("a task that spawns a job", outer).await;
    assert!(finished.is_ok(), "the runtime dropped the job, or the task that it spawned");
}
