//! Core's `sync`, made of loom's parts.

use core::task::Waker;
use core::time::Duration;

use loom::sync::{Condvar, Mutex};

pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};

pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn with<O>(&self, f: impl FnOnce(&mut T) -> O) -> O {
        f(&mut self.0.lock().unwrap())
    }

    /// Loom has no time. Who waits for [`BRIEF`] looks twice, with whatever others do in between; who waits for longer has to be rung for.
    pub(crate) fn wait<O>(&self, bell: &Bell, patience: Duration, mut look: impl FnMut(&mut T, bool) -> Option<O>) -> Option<O> {
        if patience <= BRIEF {
            return self
                .with(|value| look(value, false))
                .or_else(|| self.with(|value| look(value, true)));
        }
        let mut value = self.0.lock().unwrap();
        loop {
            let found = look(&mut value, false);
            if found.is_some() {
                return found;
            }
            value = bell.0.wait(value).unwrap();
        }
    }
}

/// So short a time that it may be over at once.
pub(crate) const BRIEF: Duration = Duration::from_nanos(1);

pub(crate) struct Bell(Condvar);

impl Bell {
    pub(crate) fn new() -> Self {
        Self(Condvar::new())
    }

    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// The one of `futures-util`, as its docs have it. Loom's own wakes a waiter that only comes at the same time as a waker, and prints what it does.
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

impl AtomicWaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let replaced = self.0.lock().unwrap().replace(waker.clone());
        drop(replaced);
    }

    pub(crate) fn wake(&self) {
        let waker = self.0.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
