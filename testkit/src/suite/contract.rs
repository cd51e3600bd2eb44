//! What the traits themselves ask.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use futures_channel::oneshot;
use rappel_core::{BlockingExecutor, Spawner};

use super::Shared;

/// How many tasks, or jobs, there are at a time.
const MANY: usize = 100;

/// A task that was taken is polled until it is done, whatever others there are.
///
/// # Panics
/// Where the runtime drops one.
pub async fn every_task_runs_to_its_end<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let tasks: Vec<_> = (0..MANY)
        .map(|number| runtime.go("one of many tasks", async move { number }))
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await, number);
    }
}

/// A task that is done is let go of, with all that it has.
///
/// # Panics
/// Where the runtime keeps it. One that leaks it is found to hang.
pub async fn a_task_is_dropped_when_it_is_done<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    // What the future itself has is the compiler's to drop; what lies beside it is not.
    struct Done(#[allow(dead_code, reason = "its drop is the signal")] oneshot::Sender<()>);
    impl Future for Done {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
            std::task::Poll::Ready(())
        }
    }
    let (kept, dropped) = oneshot::channel();
    let spawned = runtime.spawn_boxed(Box::pin(Done(kept)));
    assert_eq!(spawned, Ok(()), "the runtime takes no task");
    assert!(dropped.await.is_err(), "it is dropped");
}

/// A task that waits goes on when it is woken, from whatever thread, also while it is being polled.
///
/// # Panics
/// Where the runtime drops one. One that is not woken is found to hang.
pub async fn a_task_is_woken_from_other_threads<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (mut wakers, mut tasks) = (Vec::new(), Vec::new());
    for number in 0..MANY {
        let (wake, woken) = oneshot::channel();
        let (waits, waiting) = channel();
        // Every other one waits for certain when it is woken; the rest may be anywhere.
        wakers.push((wake, number, waiting, number % 2 == 0));
        tasks.push(runtime.go("a task that waits", tells_that_it_waits(woken, waits)));
    }
    let other = thread::spawn(move || {
        for (wake, number, waiting, certainly) in wakers {
            if certainly {
                let _ = waiting.recv();
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
        if polls < MANY {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(polls)
        }
    });
    assert_eq!(runtime.go("a task that wakes itself", yields).await, MANY);
}

/// That future, which tells each time that it was polled and is not ready.
async fn tells_that_it_waits<F: Future>(future: F, waits: Sender<()>) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let poll = future.as_mut().poll(cx);
        if poll.is_pending() {
            let _ = waits.send(());
        }
        poll
    })
    .await
}

/// A job that was taken runs once, not inside the call that gave it, and not on that one's thread, unless the executor's `linger` is zero.
///
/// # Panics
/// Where one is lost, or runs where it must not.
pub async fn a_job_runs_once_and_not_inside_the_call<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (caller, inside) = (thread::current().id(), Arc::new(AtomicBool::new(false)));
    let ran = Arc::new(AtomicUsize::new(0));
    let mut jobs = Vec::new();
    for _ in 0..MANY {
        let (done, told) = oneshot::channel();
        let (ran, giving) = (ran.clone(), inside.clone());
        inside.store(true, Ordering::SeqCst);
        let given = runtime.spawn_blocking_boxed(Box::new(move || {
            ran.fetch_add(1, Ordering::SeqCst);
            let here = thread::current().id() == caller;
            let _ = done.send((here, here && giving.load(Ordering::SeqCst)));
        }));
        inside.store(false, Ordering::SeqCst);
        assert_eq!(given, Ok(()), "the runtime takes no job");
        jobs.push(told);
    }
    for job in jobs {
        let (here, inside) = job.await.expect("the runtime has dropped a job that it took");
        assert!(!inside, "the runtime runs a job inside the call that gave it");
        assert!(
            !(here && runtime.has_threads()),
            "a job runs on the thread of who gave it, and `linger` is not zero"
        );
    }
    assert_eq!(ran.load(Ordering::SeqCst), MANY);
}

/// Tasks and jobs are given by tasks, and by jobs on their threads.
///
/// # Panics
/// Where one of these is not taken, or lost.
pub async fn tasks_and_jobs_spawn_others<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let inner = runtime.clone();
    let outer = async move {
        let (done, told) = oneshot::channel();
        let innermost = inner.clone();
        let job = move || {
            let task = async move {
                let _ = done.send(());
            };
            assert_eq!(innermost.spawn_boxed(Box::pin(task)), Ok(()), "no task is taken of a job");
        };
        assert_eq!(inner.spawn_blocking_boxed(Box::new(job)), Ok(()), "no job is taken of a task");
        told.await
    };
    let told = runtime.go("a task that gives a job", outer).await;
    assert!(told.is_ok(), "a task that a job gave, or the job, was dropped");
}
