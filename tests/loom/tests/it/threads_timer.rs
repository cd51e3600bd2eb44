//! The timer thread. Only short waits time out, so a thread that waits for long ends the model
//! with a deadlock unless it is notified.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;

use crate::sync::{SHORT, Script};
use crate::timer::{Sleep, TimerThread};
use crate::{LONG, model};

fn poll_once(sleep: &mut Sleep) -> Poll<()> {
    Pin::new(sleep).poll(&mut Context::from_waker(Waker::noop()))
}

fn model_timer(test: impl Fn(&Arc<TimerThread>) + Send + Sync + 'static) {
    model(3, Script::default(), move || test(&TimerThread::new(SHORT)));
}

#[test]
fn the_thread_ends_after_its_last_sleeper_was_dropped() {
    model_timer(|timer| {
        let mut sleeps = [timer.sleep(LONG), timer.sleep(2 * LONG)];
        for sleep in &mut sleeps {
            assert!(poll_once(sleep).is_pending());
        }
    });
}

/// A new thread starts if the old one has ended by then.
#[test]
fn each_sleeper_is_woken_although_the_thread_was_about_to_end() {
    model_timer(|timer| {
        for _ in 0..2 {
            block_on(timer.sleep(SHORT));
        }
    });
}

#[test]
fn a_short_sleep_does_not_wait_for_a_long_one() {
    model_timer(|timer| {
        let mut long = timer.sleep(LONG);
        assert!(poll_once(&mut long).is_pending());
        block_on(timer.sleep(SHORT));
    });
}

#[test]
fn two_threads_sleep_at_the_same_time() {
    model_timer(|timer| {
        let other_timer = timer.clone();
        let other = loom::thread::spawn(move || block_on(other_timer.sleep(SHORT)));
        block_on(timer.sleep(SHORT / 2));
        other.join().unwrap();
    });
}

#[test]
fn a_sleeper_is_dropped_while_another_one_is_added() {
    model_timer(|timer| {
        let mut long = timer.sleep(LONG);
        assert!(poll_once(&mut long).is_pending());
        let other_timer = timer.clone();
        let other = loom::thread::spawn(move || block_on(other_timer.sleep(SHORT)));
        drop(long);
        other.join().unwrap();
    });
}

#[test]
fn the_end_of_the_timer_ends_the_thread_and_wakes_those_who_still_sleep() {
    model(3, Script::default(), || {
        // So long that only the end of the timer ends an idle thread.
        let timer = TimerThread::new(LONG);
        let mut sleep = timer.sleep(2 * LONG);
        let mut closes = None;
        block_on(poll_fn(|cx| {
            if closes.is_some() {
                return Poll::Ready(());
            }
            assert!(Pin::new(&mut sleep).poll(cx).is_pending());
            let timer = timer.clone();
            closes = Some(loom::thread::spawn(move || timer.close()));
            Poll::Pending
        }));
        closes.unwrap().join().unwrap();
    });
}

#[test]
fn the_end_of_the_timer_ends_a_thread_that_has_no_sleeper() {
    model(3, Script::default(), || {
        let timer = TimerThread::new(LONG);
        let mut sleep = timer.sleep(2 * LONG);
        assert!(poll_once(&mut sleep).is_pending());
        drop(sleep);
        timer.close();
    });
}

#[test]
fn a_sleeper_that_registers_after_the_end_of_the_timer_has_a_thread_until_it_is_dropped() {
    model(3, Script::default(), || {
        let timer = TimerThread::new(LONG);
        let mut sleep = timer.sleep(2 * LONG);
        assert!(poll_once(&mut sleep).is_pending());
        timer.close();
        assert!(poll_once(&mut sleep).is_pending());
        assert!(timer.is_running());
        block_on(timer.sleep(SHORT));
    });
}
