//! Shutting down, and what a task may ask about its thread.

use std::future::poll_fn;
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::task::Poll;

use super::{FAILED, HOUR, threads_with, wait_until};
use crate::task::Tasks;
use crate::{BlockingExecutor, SpawnError, Spawner};

#[test]
fn a_task_and_a_job_that_both_shut_the_runtime_down_do_not_wait_for_each_other() {
    let threads = threads_with(HOUR);
    let both = Arc::new(Barrier::new(2));
    let (done, is_done) = channel();
    let ends = || {
        let (threads, both, done) = (threads.clone(), both.clone(), done.clone());
        move || {
            both.wait();
            threads.shut_down();
            done.send(()).unwrap();
        }
    };
    let (in_task, in_job) = (ends(), ends());
    threads.spawn(async move { in_task() }).unwrap();
    threads.spawn_blocking(in_job).unwrap();
    for _ in 0..2 {
        is_done.recv_timeout(FAILED).unwrap();
    }
    assert_eq!(threads.spawn(async {}), Err(SpawnError::shutdown()));
}

#[test]
fn a_shutdown_from_outside_waits_for_a_job_that_shuts_down_too() {
    let threads = threads_with(HOUR);
    let (inside, is_inside) = channel();
    let (go, gate) = channel::<()>();
    let clone = threads.clone();
    let (done, is_done) = channel();
    threads
        .spawn_blocking(move || {
            clone.shut_down();
            inside.send(()).unwrap();
            gate.recv_timeout(FAILED).unwrap();
            done.send(()).unwrap();
        })
        .unwrap();
    is_inside.recv_timeout(FAILED).unwrap();
    let opens = std::thread::spawn(move || go.send(()).unwrap());
    threads.shut_down();
    assert!(is_done.try_recv().is_ok());
    opens.join().unwrap();
}

#[test]
fn no_thread_is_left_when_a_shutdown_from_outside_returns() {
    for _ in 0..50 {
        let threads = threads_with(HOUR);
        threads.spawn(async {}).unwrap();
        threads.spawn_blocking(|| ()).unwrap();
        threads.shut_down();
        let text = format!("{threads:?}");
        let expected = "Threads { task_threads: 0, blocking_threads: 0, timer_threads: 0 }";
        assert_eq!(text, expected);
    }
}

#[test]
fn a_task_that_wakes_itself_needs_only_one_thread() {
    let tasks = Tasks::new(4, HOUR);
    let (done, is_done) = channel();
    let mut left = 1000;
    let task = poll_fn(move |cx| {
        if left == 0 {
            done.send(()).unwrap();
            return Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    assert!(tasks.spawn(Box::pin(task)));
    is_done.recv_timeout(FAILED).unwrap();
    assert_eq!(tasks.pool().thread_count(), 1);
    tasks.close();
}

#[test]
fn a_task_that_always_wakes_itself_ends_with_the_runtime() {
    let tasks = Tasks::new(1, HOUR);
    let task = poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    assert!(tasks.spawn(Box::pin(task)));
    tasks.close();
    wait_until("its thread ends", || tasks.pool().thread_count() == 0);
}

#[test]
fn a_task_must_not_block_while_it_is_polled_and_while_it_is_dropped() {
    struct AsksOnDrop<F: Fn()>(F);

    impl<F: Fn()> Drop for AsksOnDrop<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }

    let threads = threads_with(HOUR);
    let (answer, answers) = channel();
    let ask = {
        let (threads, answer) = (threads.clone(), answer.clone());
        move || answer.send(threads.may_block()).unwrap()
    };
    let guard = AsksOnDrop(ask);
    threads
        .spawn(poll_fn(move |_| {
            (guard.0)();
            Poll::Ready(())
        }))
        .unwrap();
    for _ in 0..2 {
        assert!(!answers.recv_timeout(FAILED).unwrap());
    }
    let clone = threads.clone();
    threads.spawn_blocking(move || answer.send(clone.may_block()).unwrap()).unwrap();
    assert!(answers.recv_timeout(FAILED).unwrap());
    assert!(threads.may_block());
}

#[test]
fn the_last_clone_may_be_dropped_by_a_thread_of_the_runtime() {
    let threads = threads_with(HOUR);
    let timer = Arc::downgrade(threads.timer());
    let (go, gate) = channel::<()>();
    let clone = threads.clone();
    threads
        .spawn_blocking(move || {
            gate.recv_timeout(FAILED).unwrap();
            drop(clone);
        })
        .unwrap();
    drop(threads);
    go.send(()).unwrap();
    wait_until("the runtime is gone", || timer.upgrade().is_none());
}
