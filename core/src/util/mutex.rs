//! A mutex for short critical sections.
//!
//! [`Mutex::with`] takes a closure instead of returning a guard, so that no lock can be held across
//! an `await`. With `std` it is a `std::sync::Mutex`. Without `std` it is a `critical-section`
//! mutex and not a spin lock: on a single core, spinning on a lock that an interrupted task holds
//! never ends.

#[cfg(not(feature = "std"))]
use core::cell::RefCell;
#[cfg(feature = "std")]
use core::time::Duration;
#[cfg(feature = "std")]
pub(crate) use std::sync::Condvar;
#[cfg(feature = "std")]
use std::sync::PoisonError;

#[cfg(feature = "std")]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

#[cfg(feature = "std")]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Runs `f` on the value.
    ///
    /// `f` must be short and must not run user code: no handler, no waker, no spawner, and no
    /// `Drop` of any of these.
    #[inline]
    pub(crate) fn with<O>(&self, f: impl FnOnce(&mut T) -> O) -> O {
        // Poisoning is ignored: every section of this crate is a single state change, so a panic
        // inside `f` leaves no invariant broken.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks the thread until `look` returns `Some`, at most for `timeout`.
    ///
    /// The second argument of `look` is `true` on the last call, when the time is over.
    pub(crate) fn wait<O>(
        &self,
        condvar: &Condvar,
        timeout: Duration,
        mut look: impl FnMut(&mut T, bool) -> Option<O>,
    ) -> Option<O> {
        let mut found = None;
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = condvar.wait_timeout_while(value, timeout, |value| {
            found = look(value, false);
            found.is_none()
        });
        let mut value = waited.unwrap_or_else(PoisonError::into_inner).0;
        found.or_else(|| look(&mut value, true))
    }
}

#[cfg(not(feature = "std"))]
pub(crate) struct Mutex<T>(critical_section::Mutex<RefCell<T>>);

#[cfg(not(feature = "std"))]
impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(critical_section::Mutex::new(RefCell::new(value)))
    }

    /// Runs `f` on the value.
    ///
    /// `f` must be short and must not run user code: no handler, no waker, no spawner, and no
    /// `Drop` of any of these.
    #[inline]
    pub(crate) fn with<O>(&self, f: impl FnOnce(&mut T) -> O) -> O {
        critical_section::with(|section| f(&mut self.0.borrow(section).borrow_mut()))
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().get_mut()
    }
}
