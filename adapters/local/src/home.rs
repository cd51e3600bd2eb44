//! What stays on its thread, wherever its owner goes.

use send_wrapper::SendWrapper;

/// The thread is another one than that which a handler, or what it was doing, belongs to.
///
/// It is the cause of a [`FailureCause::Error`](rappel_core::FailureCause::Error).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("called on another thread than the one it belongs to")]
pub struct ForeignThread {
    _private: (),
}

impl ForeignThread {
    pub(crate) const fn new() -> Self {
        Self { _private: () }
    }
}

/// A value that is touched on the thread it was made on only. It may be sent, and is leaked where it is dropped on another thread: its own drop
/// would touch it.
pub(crate) struct AtHome<T> {
    // Absent only while it is dropped.
    kept: Option<SendWrapper<T>>,
}

impl<T> AtHome<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            kept: Some(SendWrapper::new(value)),
        }
    }

    pub(crate) fn get(&self) -> Result<&T, ForeignThread> {
        let kept = self.kept.as_ref().filter(|kept| kept.valid());
        kept.map(|kept| &**kept).ok_or(ForeignThread::new())
    }

    pub(crate) fn get_mut(&mut self) -> Result<&mut T, ForeignThread> {
        let kept = self.kept.as_mut().filter(|kept| kept.valid());
        kept.map(|kept| &mut **kept).ok_or(ForeignThread::new())
    }
}

impl<T> Drop for AtHome<T> {
    fn drop(&mut self) {
        match self.kept.take() {
            Some(kept) if !kept.valid() => core::mem::forget(kept),
            kept => drop(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::thread;

    use super::*;

    #[test]
    fn elsewhere_it_is_neither_touched_nor_dropped() {
        let value = Rc::new(());
        let mut kept = AtHome::new(value.clone());
        assert!(kept.get().is_ok() && kept.get_mut().is_ok());
        let elsewhere = thread::spawn(move || {
            let foreign = kept.get().is_err() && kept.get_mut().is_err();
            drop(kept);
            foreign
        });
        assert_eq!(elsewhere.join().ok(), Some(true), "and without a panic");
        assert_eq!(Rc::strong_count(&value), 2);
        drop(AtHome::new(value.clone()));
        assert_eq!(Rc::strong_count(&value), 2, "at home it is");
    }
}
