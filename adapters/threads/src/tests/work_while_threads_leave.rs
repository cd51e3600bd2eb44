//! Work that is submitted at the moment at which an idle thread ends.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::{FAILED, wait_until};
use crate::pool::{ThreadPool, Work};
use crate::task::Tasks;

/// So short that a thread ends between two pieces of work.
const IDLE: Duration = Duration::from_micros(20);

struct Job(Box<dyn FnOnce() + Send>);

impl Work for Job {
    fn run(self) -> Option<Self> {
        (self.0)();
        None
    }
}

/// Lets a time pass that is different in each round, around the one at which idle threads end.
/// Threads of the pool run meanwhile; nothing depends on how long this takes.
fn vary(round: u32) {
    let pause = IDLE * (round % 32) / 8;
    let start = Instant::now();
    while start.elapsed() < pause {
        spin_loop();
    }
}

/// Each round submits one piece of work, and submits nothing else until it is done: if it is
/// lost, nothing helps it on.
fn each_round_is_done(rounds: u32, submit: impl Fn(Box<dyn FnOnce() + Send>)) {
    for round in 0..rounds {
        let (done, is_done) = channel();
        submit(Box::new(move || done.send(()).unwrap()));
        is_done.recv_timeout(FAILED).unwrap_or_else(|_| panic!("round {round} was lost"));
        vary(round);
    }
}

#[test]
fn a_job_is_done_although_the_last_thread_was_about_to_end() {
    let pool = ThreadPool::new("test-job", 1, IDLE);
    each_round_is_done(20_000, |job| assert!(pool.submit(Job(job)).is_ok()));
    wait_until("the idle thread ends", || pool.thread_count() == 0);
}

#[test]
fn a_task_is_polled_although_the_only_thread_was_about_to_end() {
    let tasks = Tasks::new(1, IDLE);
    each_round_is_done(10_000, |job| assert!(tasks.spawn(Box::pin(async move { job() }))));
    wait_until("the idle thread ends", || tasks.pool().thread_count() == 0);
    tasks.close();
}

/// A wake-up is a submit, too.
#[test]
fn a_task_is_woken_although_the_only_thread_was_about_to_end() {
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::task::{Poll, Waker};

    type Inbox = (Option<Box<dyn FnOnce() + Send>>, Option<Waker>);
    let tasks = Tasks::new(1, IDLE);
    let inbox = Arc::new(Mutex::new(Inbox::default()));
    let inbox_of_task = inbox.clone();
    let task = poll_fn(move |cx| {
        let mut inbox = inbox_of_task.lock().unwrap();
        if let Some(job) = inbox.0.take() {
            job();
        }
        inbox.1 = Some(cx.waker().clone());
        Poll::Pending
    });
    assert!(tasks.spawn(Box::pin(task)));
    each_round_is_done(10_000, |job| {
        let waker = {
            let mut inbox = inbox.lock().unwrap();
            inbox.0 = Some(job);
            inbox.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    });
    tasks.close();
}
