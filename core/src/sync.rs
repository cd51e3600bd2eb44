//! The one lock of this crate: a short critical section, never held while foreign code runs.
//!
//! It takes a closure instead of handing out a guard, so that no lock can live across an `await`. With `std` it is a mutex, without
//! it is `critical-section`'s (no spin locks: on a single core, spinning on a lock that an interrupted task holds never ends).

#[cfg(not(feature = "std"))]
use core::cell::RefCell;
#[cfg(feature = "std")]
use core::time::Duration;
#[cfg(feature = "std")]
use std::sync::{Condvar, Mutex, PoisonError};
#[cfg(feature = "std")]
use std::time::Instant;

pub(crate) use core::sync::atomic::{AtomicUsize, Ordering};
pub(crate) use futures_util::task::AtomicWaker;

#[cfg(feature = "std")]
pub(crate) struct Lock<T>(Mutex<T>);

#[cfg(feature = "std")]
impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Runs `f` on the value. `f` must be short, and must not call foreign code (handlers, wakers, spawners, `Drop`s of those).
    #[inline]
    pub(crate) fn with<O>(&self, f: impl FnOnce(&mut T) -> O) -> O {
        // Poison tells of a panic inside `f`, which holds no invariant open: every section below is a single state change.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where threads of the blocking executor wait for a lock's value to change.
#[cfg(feature = "std")]
pub(crate) struct Bell(Condvar);

#[cfg(feature = "std")]
impl Bell {
    pub(crate) const fn new() -> Self {
        Self(Condvar::new())
    }

    /// Has one of them look.
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

#[cfg(feature = "std")]
impl<T> Lock<T> {
    /// Blocks the thread until `look` finds something, at most for `patience`. `look` is told when it looks for the last time.
    pub(crate) fn wait<O>(&self, bell: &Bell, patience: Duration, mut look: impl FnMut(&mut T, bool) -> Option<O>) -> Option<O> {
        let until = Instant::now() + patience;
        let mut value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let found = look(&mut value, left.is_zero());
            if found.is_some() || left.is_zero() {
                return found;
            }
            value = bell.0.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(not(feature = "std"))]
pub(crate) struct Lock<T>(critical_section::Mutex<RefCell<T>>);

#[cfg(not(feature = "std"))]
impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(critical_section::Mutex::new(RefCell::new(value)))
    }

    /// Runs `f` on the value. `f` must be short, and must not call foreign code (handlers, wakers, spawners, `Drop`s of those).
    #[inline]
    pub(crate) fn with<O>(&self, f: impl FnOnce(&mut T) -> O) -> O {
        critical_section::with(|section| f(&mut self.0.borrow(section).borrow_mut()))
    }
}
