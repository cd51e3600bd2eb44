//! Keeping a handler's panic from everybody else. Without `std` there is no unwinding to catch, and a panic is the target's affair.

use core::future::Future;
#[cfg(feature = "std")]
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::error::FailureCause;

/// Calls `f`; a panic becomes a failure.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn contained<T>(f: impl FnOnce() -> T) -> Result<T, FailureCause> {
    // Whatever `f` shares with others is behind a lock or a handler's own affair, as its docs say.
    std::panic::catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let cause = FailureCause::Panicked(crate::error::panic_message(&*panic));
        // A panic's payload may panic when it is dropped: leaking that oddity is cheaper than an abort.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(panic))).map_err(core::mem::forget);
        cause
    })
}

#[cfg(not(feature = "std"))]
#[inline]
pub(crate) fn contained<T>(f: impl FnOnce() -> T) -> Result<T, FailureCause> {
    Ok(f())
}

pin_project! {
    /// A future whose panic becomes a failure. One that is given up is dropped here, and a panic in that goes no further either.
    pub(crate) struct Contained<F> {
        // Absent once it is ready.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Contained<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            if future.is_some() {
                let _ = contained(|| future.set(None));
            }
        }
    }
}

impl<F> Contained<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(future) }
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, FailureCause>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let poll = contained(|| {
            let poll = future.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(cx));
            if poll.is_ready() {
                future.set(None);
            }
            poll
        });
        match poll {
            Ok(poll) => poll.map(Ok),
            Err(cause) => Poll::Ready(Err(cause)),
        }
    }
}
