//! Which run the code on this thread is in, so that nested calls find their parent without passing it.
//!
//! It is in force during a poll of a future that is in a run, and during a handler's call; never between polls. So nothing leaks to a neighbour
//! on the same thread, and a task that moves to another thread takes it along. Without `std` there are no thread-locals, and no current run.

use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::scope::Facts;

/// Where code is.
#[derive(Clone, Default)]
pub(crate) struct Current {
    /// The run that it is in, if it is in one.
    pub(crate) run: Option<Arc<Facts>>,
    /// How many handlers' calls it is in, one inside the other.
    calls: u8,
}

/// How many handlers may be called inside each other, by emitting: beyond this they go in a circle.
const MOST_CALLS: u8 = 32;

impl Current {
    /// The same place, in that run.
    pub(crate) fn in_run(self, run: Option<Arc<Facts>>) -> Self {
        Self { run, ..self }
    }

    /// The same place, inside a handler's call.
    pub(crate) fn in_call(self) -> Self {
        Self {
            calls: self.calls.saturating_add(1),
            ..self
        }
    }

    /// Whether an event that is emitted here is one too many.
    pub(crate) fn is_too_deep(&self) -> bool {
        self.calls >= MOST_CALLS
    }
}

#[cfg(feature = "std")]
mod local {
    use core::cell::RefCell;

    use super::Current;

    std::thread_local! {
        static CURRENT: RefCell<Current> = const { RefCell::new(Current { run: None, calls: 0 }) };
    }

    /// Sets the current run and gives the one before. On a thread that is being torn down there is none.
    pub(super) fn replace(current: Current) -> Current {
        CURRENT.try_with(|cell| cell.replace(current)).unwrap_or_default()
    }

    pub(crate) fn current() -> Current {
        CURRENT.try_with(|cell| cell.borrow().clone()).unwrap_or_default()
    }
}

#[cfg(not(feature = "std"))]
mod local {
    use super::Current;

    pub(super) fn replace(_: Current) -> Current {
        Current::default()
    }

    pub(crate) fn current() -> Current {
        Current::default()
    }
}

pub(crate) use local::current;

/// Puts a run in force until it is dropped, and then the one before again.
pub(crate) struct Entered(Current);

pub(crate) fn enter(current: Current) -> Entered {
    Entered(local::replace(current))
}

/// Puts a run in force where we are.
pub(crate) fn enter_run(run: &Arc<Facts>) -> Entered {
    enter(current().in_run(Some(run.clone())))
}

impl Drop for Entered {
    fn drop(&mut self) {
        drop(local::replace(core::mem::take(&mut self.0)));
    }
}

pin_project! {
    /// A future that is polled with a run in force.
    #[must_use = "futures do nothing unless they are polled"]
    pub struct InCurrentRun<F> {
        #[pin]
        future: F,
        current: Current,
    }
}

impl<F> InCurrentRun<F> {
    pub(crate) fn new(future: F, current: Current) -> Self {
        Self { future, current }
    }
}

impl<F> fmt::Debug for InCurrentRun<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.current.run.as_ref().map(|facts| &facts.info);
        f.debug_struct("InCurrentRun").field("run", &run).finish_non_exhaustive()
    }
}

impl<F: Future> Future for InCurrentRun<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = enter(this.current.clone());
        this.future.poll(cx)
    }
}
