//! Values that are used and dropped on one thread only.

use send_wrapper::SendWrapper;

/// A handler, or one of its calls, was used on another thread than its own.
///
/// It is the cause of a [`FailureCause::Error`](rappel_core::FailureCause::Error).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("called on another thread than the one it belongs to: emit and poll on that thread")]
pub struct WrongThread {
    _private: (),
}

/// A value that only its own thread can use. It is `Send`, and other threads get [`WrongThread`].
///
/// Dropped on another thread, the value is leaked: its destructor would use it there.
pub(crate) struct ThreadBound<T>(Option<SendWrapper<T>>);

impl<T> ThreadBound<T> {
    /// Binds `value` to this thread.
    pub(crate) fn new(value: T) -> Self {
        Self(Some(SendWrapper::new(value)))
    }

    pub(crate) fn get(&self) -> Result<&T, WrongThread> {
        let value = self.0.as_ref().filter(|value| value.valid());
        value.map(|value| &**value).ok_or(WrongThread { _private: () })
    }

    pub(crate) fn get_mut(&mut self) -> Result<&mut T, WrongThread> {
        let value = self.0.as_mut().filter(|value| value.valid());
        value.map(|value| &mut **value).ok_or(WrongThread { _private: () })
    }
}

impl<T> Drop for ThreadBound<T> {
    fn drop(&mut self) {
        match self.0.take() {
            Some(value) if !value.valid() => core::mem::forget(value),
            value => drop(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::thread;

    use super::*;

    #[test]
    fn another_thread_neither_uses_nor_drops_the_value() {
        let value = Rc::new(());
        let mut bound = ThreadBound::new(value.clone());
        assert!(bound.get().is_ok() && bound.get_mut().is_ok());
        let other = thread::spawn(move || {
            let is_refused = bound.get().is_err() && bound.get_mut().is_err();
            drop(bound);
            is_refused
        });
        assert_eq!(other.join().ok(), Some(true));
        assert_eq!(Rc::strong_count(&value), 2);
    }

    #[test]
    fn its_own_thread_drops_the_value() {
        let value = Rc::new(());
        drop(ThreadBound::new(value.clone()));
        assert_eq!(Rc::strong_count(&value), 1);
    }
}
