//! Core's `sync`, made of loom's parts.

use core::ops::{Deref, DerefMut};
use core::task::Waker;

use loom::cell::{MutPtr, UnsafeCell};
use loom::sync::Mutex;
use loom::sync::atomic::AtomicBool;

pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};
pub(crate) use loom::thread::yield_now as yield_thread;

/// Each look has many orders.
pub(crate) const LOOKS: usize = 1;

/// The one of `futures-util`, as its docs have it. Loom's own wakes a task that registers at the
/// same time, and prints what it does.
pub(crate) struct AtomicWaker(Mutex<Option<Waker>>);

impl AtomicWaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let replaced = self.0.lock().unwrap().replace(waker.clone());
        drop(replaced);
    }

    pub(crate) fn take(&self) -> Option<Waker> {
        self.0.lock().unwrap().take()
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }
}

/// The one of `try-lock`. There a swap takes the lock. Here it is a `compare_exchange`: loom does not
/// know that a swap which finds the lock taken comes before the store that gives it back.
pub(crate) struct TryLock<T> {
    is_locked: AtomicBool,
    /// The system's mutex only gives access to the value: it is never found locked, or two hold the
    /// value at the same time.
    inner: system::sync::Mutex<Inner<T>>,
}

struct Inner<T> {
    value: T,
    /// Has loom check that each holder sees what the holder before it did.
    access: UnsafeCell<()>,
}

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        let inner = Inner { value, access: UnsafeCell::new(()) };
        Self { is_locked: AtomicBool::new(false), inner: system::sync::Mutex::new(inner) }
    }

    pub(crate) fn try_lock(&self) -> Option<Locked<'_, T>> {
        self.is_locked.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let inner = self.inner.try_lock().expect("one thread at a time holds the value");
        let access = inner.access.get_mut();
        Some(Locked { is_locked: &self.is_locked, held: Some((access, inner)) })
    }
}

pub(crate) struct Locked<'a, T> {
    is_locked: &'a AtomicBool,
    /// `None` once it is dropped.
    held: Option<(MutPtr<()>, system::sync::MutexGuard<'a, Inner<T>>)>,
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held.as_ref().expect("it is not dropped").1.value
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held.as_mut().expect("it is not dropped").1.value
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        drop(self.held.take());
        self.is_locked.store(false, Ordering::Release);
    }
}
