//! Panics in the calls and in the `Drop` of what users hand over harm nothing else.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{FAILED, HOUR, PanicOnDrop, threads_with};
use crate::block_on::block_on;
use crate::timer::TimerThread;
use crate::{BlockingExecutor, SpawnError, Spawner, Threads};

/// Checks that the only thread for tasks and the only one for jobs still work.
#[track_caller]
fn assert_works(threads: &Threads) {
    let (done, is_done) = channel();
    let also_done = done.clone();
    threads.spawn(async move { done.send(()).unwrap() }).unwrap();
    threads.spawn_blocking(move || also_done.send(()).unwrap()).unwrap();
    for _ in 0..2 {
        is_done.recv_timeout(FAILED).unwrap();
    }
}

#[test]
fn a_panic_in_a_task_or_a_job_ends_only_that() {
    let threads = threads_with(HOUR);
    threads.spawn(async { panic!("a task's") }).unwrap();
    threads.spawn_blocking(|| panic!("a job's")).unwrap();
    threads.spawn(async { std::panic::panic_any(PanicOnDrop(|| ())) }).unwrap();
    threads.spawn_blocking(|| std::panic::panic_any(PanicOnDrop(|| ()))).unwrap();
    assert_works(&threads);
}

#[test]
fn a_panic_in_the_drop_of_a_task_or_a_job_ends_only_that() {
    let threads = threads_with(HOUR);
    let (in_task, in_job) = (PanicOnDrop(|| ()), PanicOnDrop(|| ()));
    // The future is dropped after it is ready, and not by its last poll.
    threads
        .spawn(poll_fn(move |_| {
            let _held = &in_task;
            Poll::Ready(())
        }))
        .unwrap();
    threads.spawn_blocking(move || drop(in_job)).unwrap();
    assert_works(&threads);
}

#[test]
fn all_that_waits_at_the_end_is_dropped_although_each_drop_panics() {
    let (dropped, drops) = channel();
    let threads = threads_with(HOUR);
    let guard = || {
        let dropped: Sender<()> = dropped.clone();
        PanicOnDrop(move || dropped.send(()).unwrap())
    };
    let (begun, begin) = channel();
    let (go, gate) = channel::<()>();
    // It occupies the only thread for jobs, so that the other jobs stay in the queue.
    threads
        .spawn_blocking(move || {
            begun.send(()).unwrap();
            gate.recv_timeout(FAILED).unwrap();
        })
        .unwrap();
    begin.recv_timeout(FAILED).unwrap();
    for _ in 0..3 {
        let (in_task, in_job) = (guard(), guard());
        threads
            .spawn(async move {
                let _held = in_task;
                pending::<()>().await;
            })
            .unwrap();
        threads.spawn_blocking(move || drop(in_job)).unwrap();
    }
    let clone = threads.clone();
    let ends = std::thread::spawn(move || clone.shut_down());
    for _ in 0..6 {
        drops.recv_timeout(FAILED).unwrap();
    }
    go.send(()).unwrap();
    ends.join().unwrap();
    let (refused_task, refused_job) = (guard(), guard());
    let task = async move { drop(refused_task) };
    assert_eq!(threads.spawn(task), Err(SpawnError::shutdown()));
    assert_eq!(threads.spawn_blocking(move || drop(refused_job)), Err(SpawnError::shutdown()));
}

#[test]
fn a_waker_that_panics_harms_no_other_sleeper() {
    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's");
        }
    }

    let timer = TimerThread::new(HOUR);
    let mut sleeps = [1, 2].map(|millis| timer.sleep(Duration::from_millis(millis)));
    for sleep in &mut sleeps {
        let waker = Waker::from(Arc::new(Panics));
        // Ready if this thread was slow.
        let _ = Pin::new(sleep).poll(&mut Context::from_waker(&waker));
    }
    block_on(timer.sleep(Duration::from_millis(5)));
    timer.close();
}

#[test]
fn a_waker_whose_drop_panics_harms_nothing() {
    struct Panics(Sender<()>);

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Panics {
        fn drop(&mut self) {
            self.0.send(()).unwrap();
            panic!("a drop's");
        }
    }

    let (dropped, drops) = channel();
    let timer = TimerThread::new(HOUR);
    let mut sleep = timer.sleep(HOUR);
    for _ in 0..2 {
        let waker = Waker::from(Arc::new(Panics(dropped.clone())));
        assert!(Pin::new(&mut sleep).poll(&mut Context::from_waker(&waker)).is_pending());
        // Not the last clone: the timer has one.
        drop(waker);
    }
    drops.recv_timeout(FAILED).unwrap();
    drop(sleep);
    drops.recv_timeout(FAILED).unwrap();
    block_on(timer.sleep(Duration::from_millis(1)));
    timer.close();
}
