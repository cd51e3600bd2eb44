//! [`Latch`]: whoever waits is woken once nobody keeps it waiting, and sees what they did.

use alloc::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::latch::Latch;
use crate::model::{model, wait_for};

/// `holders` threads work and release while the waiter polls. What they did is stored without an order of its own: the latch has to give it one.
fn released_by(holders: usize) {
    let latch = Arc::new(Latch::new());
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..holders {
        latch.hold();
    }
    let threads: Vec<_> = (0..holders)
        .map(|_| {
            let (latch, done) = (latch.clone(), done.clone());
            thread::spawn(move || {
                done.fetch_add(1, Ordering::Relaxed);
                latch.release();
            })
        })
        .collect();
    wait_for(&latch);
    assert_eq!(done.load(Ordering::Relaxed), holders);
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Breaks where `poll` does not look again once it has enlisted, where `release` wakes nobody, or where their orders are relaxed.
#[test]
fn by_one_holder() {
    model(3, || released_by(1));
}

/// Breaks where each holder but the last wakes instead, or where the last one's release does not carry what the others did.
#[test]
fn by_the_last_of_two_holders() {
    model(3, || released_by(2));
}

/// A lane may keep an emitter waiting twice: for room, and for the call. Breaks where the waiter enlists but once.
#[test]
fn once_for_each_time_they_wait() {
    model(3, || {
        let latch = Arc::new(Latch::new());
        for _ in 0..2 {
            latch.hold();
            let holder = latch.clone();
            let thread = thread::spawn(move || holder.release());
            wait_for(&latch);
            thread.join().unwrap();
        }
    });
}
