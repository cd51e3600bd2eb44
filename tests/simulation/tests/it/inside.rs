//! What is inside an instrumented future or stream.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use rappel_core::RunError;

use super::history::{History, How, current};

/// The body of a future that is a run. It notes in the history what is about to end the run.
pub(super) struct Inside<F> {
    future: Pin<Box<F>>,
    guard: Guard,
}

/// Notes that a run is about to be cancelled, when it is dropped.
pub(super) struct Guard {
    history: History,
    name: String,
}

impl Inside<()> {
    pub(super) fn guard(history: &History, name: &str) -> Guard {
        Guard { history: history.clone(), name: name.to_owned() }
    }
}

impl<F> Inside<F> {
    pub(super) fn new(history: &History, name: &str, future: F) -> Self {
        Self { future: Box::pin(future), guard: Inside::guard(history, name) }
    }
}

impl<T, F: Future<Output = Result<T, RunError>>> Future for Inside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let poll = self.future.as_mut().poll(cx);
        if let Poll::Ready(output) = &poll {
            let how = if output.is_ok() { How::Result } else { How::Failed };
            self.guard.history.intend(&self.guard.name, how);
        }
        poll
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.history.intend(&self.name, How::Cancelled);
    }
}

/// Looks whether its run is current when it is dropped.
pub(super) struct DropCheck {
    history: History,
    name: String,
    polled: Cell<bool>,
    dropped: Arc<AtomicBool>,
}

/// Whether a [`DropCheck`] was dropped.
pub(super) struct Dropped(Arc<AtomicBool>);

impl Dropped {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl DropCheck {
    pub(super) fn new(history: &History, name: &str) -> (Self, Dropped) {
        let dropped = Arc::new(AtomicBool::new(false));
        let (history, name) = (history.clone(), name.to_owned());
        let check = Self { history, name, polled: Cell::new(false), dropped: dropped.clone() };
        (check, Dropped(dropped))
    }

    /// From here on, the run has started.
    pub(super) fn started(&self) {
        self.polled.set(true);
    }
}

impl Drop for DropCheck {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        let current = current();
        if self.polled.get() && current.as_deref() != Some(self.name.as_str()) {
            let name = &self.name;
            self.history.wrong(format!("what {name} wraps is dropped inside {current:?}"));
        }
    }
}
