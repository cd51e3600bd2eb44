//! [`WaitGroup`]: the task that waits is woken when no work is left, and sees what the work did.

use alloc::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::model::{model, wait_for};
use crate::util::{WaitGroup, WaitGuard};

/// Each of `workers` threads works and drops its guard while the waiter polls. What they did is
/// stored without an order of its own: the group has to give it one.
fn after_the_work_of(workers: usize) {
    let group = Arc::new(WaitGroup::new());
    let done = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..workers)
        .map(|_| {
            let (guard, done) = (WaitGuard::new(&group), done.clone());
            thread::spawn(move || {
                done.fetch_add(1, Ordering::Relaxed);
                drop(guard);
            })
        })
        .collect();
    wait_for(&group);
    assert_eq!(done.load(Ordering::Relaxed), workers);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Fails if `poll` does not look again after it has registered, if `done` wakes no task, or if their
/// orders are relaxed.
#[test]
fn by_one_guard() {
    model(3, || after_the_work_of(1));
}

/// Fails if another guard than the last one wakes the task instead, or if the last one does not
/// carry what the others did.
#[test]
fn by_the_last_of_two_guards() {
    model(3, || after_the_work_of(2));
}

/// A lane may keep an emitter waiting twice: for room, and for the answer. Fails if the task
/// registers only once.
#[test]
fn each_time_they_wait() {
    model(3, || {
        let group = Arc::new(WaitGroup::new());
        for _ in 0..2 {
            let guard = WaitGuard::new(&group);
            let thread = thread::spawn(move || drop(guard));
            wait_for(&group);
            thread.join().unwrap();
        }
    });
}

/// A guard that is made of another one counts before that is dropped. Fails if it does not.
#[test]
fn after_the_guard_of_a_guard() {
    model(3, || {
        let group = Arc::new(WaitGroup::new());
        let done = Arc::new(AtomicUsize::new(0));
        let (first, first_done) = (WaitGuard::new(&group), done.clone());
        let thread = thread::spawn(move || {
            let second = first.again();
            let second_done = first_done.clone();
            let thread = thread::spawn(move || {
                second_done.fetch_add(1, Ordering::Relaxed);
                drop(second);
            });
            first_done.fetch_add(1, Ordering::Relaxed);
            drop(first);
            thread.join().unwrap();
        });
        wait_for(&group);
        assert_eq!(done.load(Ordering::Relaxed), 2);
        thread.join().unwrap();
    });
}
