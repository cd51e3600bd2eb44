//! What core takes from `std::sync`, made of loom's parts.
//!
//! Loom has no time. A wait of at most [`BRIEF`] times out. A longer one lasts until the thread is
//! notified.

use core::ops::{Deref, DerefMut};
use core::time::Duration;

pub(crate) use system::sync::{LockResult, PoisonError};

use crate::time;

/// A time that may be over at once.
pub(crate) const BRIEF: Duration = Duration::from_nanos(1);

pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        Ok(MutexGuard { mutex: self, guard: self.0.lock().unwrap() })
    }

    pub(crate) fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
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

    /// A time-out is the same as to unlock the mutex and to lock it again: all that other threads
    /// do in between happens while this one waits. It moves the clock.
    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let MutexGuard { mutex, mut guard } = guard;
        while condition(&mut guard) {
            if timeout <= BRIEF {
                drop(guard);
                time::pass(timeout);
                let guard = mutex.0.lock().unwrap();
                return Ok((MutexGuard { mutex, guard }, true));
            }
            guard = self.0.wait(guard).unwrap();
        }
        Ok((MutexGuard { mutex, guard }, false))
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }
}
