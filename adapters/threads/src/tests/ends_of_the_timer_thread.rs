//! When the timer thread ends, and what it does until then.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use super::{HOUR, threads_with, wait_until};
use crate::Timer;
use crate::block_on::block_on;
use crate::timer::TimerThread;

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Like a handler that has a time-out of an hour and answers at once.
#[test]
fn it_ends_soon_after_its_last_sleeper_was_dropped() {
    let timer = TimerThread::new(Duration::from_millis(5));
    for _ in 0..3 {
        let mut sleeps = [timer.sleep(HOUR), timer.sleep(2 * HOUR)];
        for sleep in &mut sleeps {
            assert!(poll(Pin::new(sleep)).is_pending());
        }
        wait_until("the thread waits for them", || timer.waits_until().is_some());
        drop(sleeps);
        wait_until("the thread ends", || !timer.is_running());
    }
}

#[test]
fn it_ends_at_once_when_the_timer_is_closed() {
    let timer = TimerThread::new(HOUR);
    let mut held = timer.sleep(HOUR);
    for _ in 0..100 {
        let mut answered = timer.sleep(HOUR);
        assert!(poll(Pin::new(&mut answered)).is_pending());
    }
    assert!(poll(Pin::new(&mut held)).is_pending());
    timer.close();
    wait_until("the thread ends", || !timer.is_running());
    drop(held);
}

#[test]
fn no_timer_thread_is_left_behind_by_200_runtimes() {
    let timers: Vec<_> = (0..200)
        .map(|number| {
            // Only the end of the runtime can end a thread that may be idle for an hour.
            let threads = threads_with(HOUR);
            let mut sleep = threads.sleep(HOUR);
            assert!(poll(sleep.as_mut()).is_pending());
            wait_until("the thread waits for it", || threads.timer().waits_until().is_some());
            drop(sleep);
            if number % 2 == 0 {
                threads.shut_down();
            }
            Arc::downgrade(threads.timer())
        })
        .collect();
    // A thread holds its timer until it ends.
    wait_until("all threads end", || timers.iter().all(|timer| timer.upgrade().is_none()));
}

#[test]
fn a_sleep_that_outlives_the_runtime_is_ready_at_its_time() {
    let threads = threads_with(HOUR);
    let (start, time) = (Instant::now(), Duration::from_millis(30));
    let mut sleep = threads.sleep(time);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    assert!(sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let timer = Arc::downgrade(threads.timer());
    drop(threads);
    // The end of the runtime wakes the sleeper, so that it registers again.
    wait_until("it is woken", || woken.0.load(Ordering::SeqCst) > 0);
    block_on(&mut sleep);
    assert!(start.elapsed() >= time);
    drop(sleep);
    wait_until("the thread ends", || timer.upgrade().is_none());
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An idle thread looks again soon by itself. To wake it for each sleeper would cost two switches
/// between threads for each call of a handler that has a time-out.
#[test]
fn it_is_not_woken_for_each_sleeper() {
    let timer = TimerThread::new(HOUR);
    let mut first = timer.sleep(Duration::from_millis(1));
    block_on(&mut first);
    drop(first);
    let soon = Instant::now() + HOUR / 2;
    wait_until("the thread is idle", || timer.waits_until().is_some_and(|until| until > soon));
    let until = timer.waits_until();
    for _ in 0..1000 {
        let mut sleep = timer.sleep(2 * HOUR);
        assert!(poll(Pin::new(&mut sleep)).is_pending());
        assert_eq!(timer.waits_until(), until);
        drop(sleep);
        assert_eq!(timer.waits_until(), until);
    }
    timer.close();
}

#[test]
fn a_sleeper_does_not_wait_for_a_later_one() {
    let timer = TimerThread::new(HOUR);
    let mut later = timer.sleep(HOUR);
    assert!(poll(Pin::new(&mut later)).is_pending());
    // The thread waits for the later sleeper. An earlier one must be woken at its own time.
    for _ in 0..20 {
        let (start, time) = (Instant::now(), Duration::from_millis(1));
        block_on(timer.sleep(time));
        assert!(start.elapsed() >= time);
    }
    assert!(poll(Pin::new(&mut later)).is_pending());
    timer.close();
}

#[test]
fn a_sleep_of_more_than_the_clock_can_count_is_never_ready_and_needs_no_thread() {
    let timer = TimerThread::new(HOUR);
    let mut never = timer.sleep(Duration::MAX);
    assert!(poll(Pin::new(&mut never)).is_pending());
    assert!(!timer.is_running());
}
