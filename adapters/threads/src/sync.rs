//! The locks, threads and clock of this crate. The loom tests compile the other files against a
//! module of their own in place of this one, so the other files take these items only from here.

use std::io;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

pub(crate) use std::sync::MutexGuard;
pub(crate) use std::thread::ThreadId;
pub(crate) use std::time::Instant;

/// A mutex that ignores poison: no user code runs while it is locked, so a panic cannot leave the
/// value half changed.
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition variable that ignores poison.
pub(crate) struct Condvar(std::sync::Condvar);

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self(std::sync::Condvar::new())
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for at most `timeout`. The flag is `true` if that time has passed.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        let (guard, result) =
            self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner);
        (guard, result.timed_out())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Starts a detached thread.
///
/// # Errors
/// When the system has no more threads.
pub(crate) fn spawn(name: &str, f: impl FnOnce() + Send + 'static) -> io::Result<ThreadId> {
    let handle = thread::Builder::new().name(name.into()).spawn(f)?;
    Ok(handle.thread().id())
}

pub(crate) fn current_thread() -> ThreadId {
    thread::current().id()
}
