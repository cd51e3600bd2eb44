//! Sleeps. One thread wakes all sleepers of a runtime.
//!
//! The thread starts with the first sleeper. It ends when it has had no sleeper for a while, and
//! at once when the runtime ends.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::catch_unwind::{catch_unwind, drop_caught};
use super::sync::{Condvar, Instant, Mutex, MutexGuard, spawn};

pub(crate) struct TimerThread {
    /// How long the thread stays when it has no sleeper.
    idle_timeout: Duration,
    state: Mutex<State>,
    /// Notified when the thread has to look at the state before its time.
    changed: Condvar,
}

struct State {
    /// By the time at which a sleeper is due, and its id.
    sleepers: BTreeMap<(Instant, u64), Waker>,
    next_id: u64,
    thread: Thread,
    is_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    None,
    /// It is about to look at the state.
    Awake,
    /// It waits until that time, or until it is notified.
    WaitsUntil(Instant),
}

impl TimerThread {
    pub(crate) fn new(idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle_timeout,
            state: Mutex::new(State {
                sleepers: BTreeMap::new(),
                next_id: 0,
                thread: Thread::None,
                is_closed: false,
            }),
            changed: Condvar::new(),
        })
    }

    pub(crate) fn sleep(self: &Arc<Self>, duration: Duration) -> Sleep {
        Sleep { timer: self.clone(), until: Instant::now().checked_add(duration), id: None }
    }

    /// Ends the thread, and wakes all sleepers.
    ///
    /// The runtime's own tasks are dropped before that. A sleeper that is left belongs to a future
    /// that someone else polls. It stays correct: if it is polled again it registers again, and a
    /// thread runs for as long as there are such sleepers.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let sleepers = std::mem::take(&mut state.sleepers);
        drop(state);
        self.changed.notify_one();
        wake_all(sleepers);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state.lock().thread != Thread::None
    }

    /// Until when the thread waits, if it waits.
    #[cfg(test)]
    pub(crate) fn waits_until(&self) -> Option<Instant> {
        match self.state.lock().thread {
            Thread::WaitsUntil(until) => Some(until),
            Thread::None | Thread::Awake => None,
        }
    }

    /// Adds a sleeper, or replaces its waker. Returns `false` if there is no thread that could
    /// wake it.
    fn register(self: &Arc<Self>, until: Instant, id: &mut Option<u64>, waker: Waker) -> bool {
        let mut state = self.state.lock();
        let id = *id.get_or_insert_with(|| {
            state.next_id += 1;
            state.next_id
        });
        let replaced = state.sleepers.insert((until, id), waker);
        if state.thread == Thread::None && self.spawn_thread() {
            state.thread = Thread::Awake;
        }
        let has_thread = state.thread != Thread::None;
        let waits_too_long = matches!(state.thread, Thread::WaitsUntil(time) if time > until);
        drop(state);
        if waits_too_long {
            self.changed.notify_one();
        }
        drop_caught(replaced);
        has_thread
    }

    /// Removes a sleeper. The thread must not wait for the time of a sleeper that is gone, so it is
    /// notified when it has none left. It is not notified if it looks again soon by itself: else
    /// each call of a handler that has a time-out and answers in time would wake it.
    fn deregister(&self, until: Instant, id: u64) {
        let mut state = self.state.lock();
        let removed = state.sleepers.remove(&(until, id));
        let waits_too_long = match state.thread {
            Thread::WaitsUntil(time) if state.sleepers.is_empty() => {
                state.is_closed || time > Instant::now() + self.idle_timeout
            }
            _ => false,
        };
        drop(state);
        if waits_too_long {
            self.changed.notify_one();
        }
        drop_caught(removed);
    }

    /// Returns `false` if the system has no more threads.
    fn spawn_thread(self: &Arc<Self>) -> bool {
        let timer = self.clone();
        spawn("rappel-timer", move || timer.run_thread()).is_ok()
    }

    fn run_thread(&self) {
        let mut idle: Option<Idle> = None;
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let due = state.take_due(now);
            if !due.is_empty() {
                drop(state);
                wake_all(due);
                state = self.state.lock();
                continue;
            }
            let until = if let Some(next) = state.next_due() {
                idle = None;
                next
            } else {
                let newest_id = state.next_id;
                let since = idle.take().filter(|idle| idle.newest_id == newest_id);
                let until = since.map_or_else(|| now + self.idle_timeout, |idle| idle.until);
                if state.is_closed || until <= now {
                    break;
                }
                idle = Some(Idle { newest_id, until });
                until
            };
            state = self.wait_until(state, until, now);
        }
        // Still the critical section in which no sleeper was found: the next one starts a thread.
        state.thread = Thread::None;
    }

    fn wait_until<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        until: Instant,
        now: Instant,
    ) -> MutexGuard<'a, State> {
        state.thread = Thread::WaitsUntil(until);
        let timeout = until.saturating_duration_since(now);
        let (mut state, _) = self.changed.wait_timeout(state, timeout);
        state.thread = Thread::Awake;
        state
    }
}

/// The thread has no sleeper.
struct Idle {
    /// The newest sleeper when this began. If there is a newer one by now, the timer is in use, and
    /// the thread stays.
    newest_id: u64,
    /// When the thread ends.
    until: Instant,
}

impl State {
    fn next_due(&self) -> Option<Instant> {
        self.sleepers.first_key_value().map(|(&(due, _), _)| due)
    }

    fn take_due(&mut self, now: Instant) -> BTreeMap<(Instant, u64), Waker> {
        let later = self.sleepers.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.sleepers, later)
    }
}

/// Called without the lock: a waker is user code.
fn wake_all(sleepers: BTreeMap<(Instant, u64), Waker>) {
    for waker in sleepers.into_values() {
        let _ = catch_unwind(|| waker.wake());
    }
}

/// A future that is ready when its time has come. Dropping it cancels the sleep.
pub(crate) struct Sleep {
    timer: Arc<TimerThread>,
    /// `None` if that is later than the clock can count. It is never ready then.
    until: Option<Instant>,
    /// Set by the first poll that is pending.
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let Some(until) = this.until else {
            return Poll::Pending;
        };
        if until <= Instant::now() {
            return Poll::Ready(());
        }
        // Cloned outside of the lock: a waker is user code.
        let waker = cx.waker().clone();
        if !this.timer.register(until, &mut this.id, waker) {
            // Without a thread, the future looks at the clock again at its next turn.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(until), Some(id)) = (self.until, self.id) {
            self.timer.deregister(until, id);
        }
    }
}
