//! The `sync` module of `rappel-threads`, made of loom's parts.
//!
//! Loom has no time. A script says which waits time out. A wait that the script does not mention
//! times out if it is short, and otherwise lasts until the thread is notified. A time-out moves
//! the clock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::ops::{Add, Deref, DerefMut};
use std::time::Duration;

use loom::thread;

pub(crate) use loom::thread::ThreadId;

/// The longest time that is short.
pub(crate) const SHORT: Duration = Duration::from_secs(1);

/// What happens to the first waits with a time-out, and to the first threads that are started.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) time_outs: VecDeque<bool>,
    pub(crate) failed_spawns: VecDeque<bool>,
}

thread_local! {
    // Loom runs all of its threads on one thread of the system.
    static SCRIPT: RefCell<Script> = RefCell::default();
    static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Each order of a model starts with this.
pub(crate) fn start(script: Script) {
    SCRIPT.replace(script);
    NOW.set(Duration::ZERO);
}

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, guard: self.0.lock().unwrap() }
    }
}

/// Loom's guard, and the mutex that it locks again after a time-out.
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    guard: loom::sync::MutexGuard<'a, T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { mutex, guard } = guard;
        MutexGuard { mutex, guard: self.0.wait(guard).unwrap() }
    }

    /// A time-out is the same as to unlock the mutex and to lock it again: all that other threads
    /// do in between happens while this one waits.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let scripted = SCRIPT.with_borrow_mut(|script| script.time_outs.pop_front());
        if !scripted.unwrap_or(timeout <= SHORT) {
            return (self.wait(guard), false);
        }
        let mutex = guard.mutex;
        drop(guard);
        NOW.set(NOW.get() + timeout);
        (mutex.lock(), true)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

pub(crate) fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<ThreadId> {
    let fails = SCRIPT.with_borrow_mut(|script| script.failed_spawns.pop_front());
    if fails == Some(true) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let handle = thread::Builder::new().name(name.into()).spawn(f)?;
    Ok(handle.thread().id())
}

pub(crate) fn current_thread() -> ThreadId {
    thread::current().id()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Self {
        Self(NOW.get())
    }

    pub(crate) fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add(duration).map(Self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}
