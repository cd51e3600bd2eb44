//! [`Turn`]: a request is seen by the holder or by the task that leaves it, and so is what it is
//! about.

use alloc::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::model::model;
use crate::util::Turn;

const ADD: usize = 1;
const OTHER: usize = 2;

/// A sum, and the numbers that it is of. These are stored without an order of their own: the turn
/// has to give them one.
struct Sum {
    turn: Turn<usize>,
    left: [AtomicUsize; 2],
}

impl Sum {
    fn new() -> Arc<Self> {
        Arc::new(Self { turn: Turn::new(0), left: [0; 2].map(AtomicUsize::new) })
    }

    /// Holds the value for a while, as an emitter does for a poll.
    fn hold(&self) {
        let Some(mut sum) = self.turn.try_hold() else { return };
        *sum += 1;
        *sum -= 1;
        let bits = self.turn.release(sum);
        self.attend(bits);
    }

    /// Leaves a number at an index, and requests that it is added.
    fn add(&self, index: usize, number: usize) {
        self.left[index].store(number, Ordering::Relaxed);
        if let Some(sum) = self.turn.request(ADD) {
            let bits = self.turn.release(sum);
            self.attend(bits);
        }
    }

    fn attend(&self, mut bits: usize) {
        while bits & ADD != 0 {
            let Some(mut sum) = self.turn.hold_or_request(ADD, || {}) else { return };
            *sum = self.left.iter().map(|left| left.load(Ordering::Relaxed)).sum();
            bits = self.turn.release(sum);
        }
    }

    fn assert_is(&self, expected: usize) {
        let sum = self.turn.try_hold().expect("it has been given back");
        assert_eq!(*sum, expected, "a request was lost");
        assert_eq!(self.turn.release(sum), 0, "a request is left");
    }
}

/// Fails if the word is swapped before the value is released, if there is no try after the bits are
/// left, or if the orders are relaxed.
#[test]
fn while_a_holder_gives_it_back() {
    model(4, || {
        let sum = Sum::new();
        let holder = sum.clone();
        let thread = thread::spawn(move || holder.hold());
        sum.add(0, 1);
        thread.join().unwrap();
        sum.assert_is(1);
    });
}

/// Fails as the one before, if one of the two that leave a request is taken for the holder.
#[test]
fn by_two_that_request_it() {
    model(3, || {
        let sum = Sum::new();
        let threads = [(0, 1), (1, 2)].map(|(index, number)| {
            let sum = sum.clone();
            thread::spawn(move || sum.add(index, number))
        });
        sum.hold();
        for thread in threads {
            thread.join().unwrap();
        }
        sum.assert_is(3);
    });
}

/// What a task prepares is there when the holder sees its bit. Fails if the bit comes first.
#[test]
fn after_what_the_request_is_about_was_stored() {
    model(4, || {
        let sum = Sum::new();
        let other = sum.clone();
        let thread = thread::spawn(move || {
            let prepare = || other.left[0].store(1, Ordering::Relaxed);
            if let Some(held) = other.turn.hold_or_request(OTHER, prepare) {
                let _ = other.turn.release(held);
            }
        });
        if let Some(held) = sum.turn.try_hold() {
            if sum.turn.release(held) & OTHER != 0 {
                assert_eq!(sum.left[0].load(Ordering::Relaxed), 1);
            }
        }
        thread.join().unwrap();
    });
}
