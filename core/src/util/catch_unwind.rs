//! Contains panics of user code.
//!
//! Without `std` there is no unwinding: nothing is caught, and the target decides what a panic does.

use alloc::sync::Arc;
use core::future::Future;
#[cfg(feature = "std")]
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Calls `f`. Returns the message of the panic if `f` panics.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn catch_unwind<T>(f: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    // Unwind safety: what `f` shares with other code is behind a mutex or belongs to a handler,
    // whose docs say that it is called again after a panic.
    std::panic::catch_unwind(AssertUnwindSafe(f)).map_err(message_of)
}

/// Calls `f`.
#[cfg(not(feature = "std"))]
#[inline]
pub(crate) fn catch_unwind<T>(f: impl FnOnce() -> T) -> Result<T, Arc<str>> {
    Ok(f())
}

/// Takes the message out of a panic's payload and drops the payload.
#[cfg(feature = "std")]
#[cold]
fn message_of(payload: alloc::boxed::Box<dyn core::any::Any + Send>) -> Arc<str> {
    let message = panic_text(&*payload);
    drop_quietly(payload);
    message
}

/// The message of a panic with that payload.
#[cfg(feature = "std")]
pub(crate) fn panic_text(payload: &(dyn core::any::Any + Send)) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<alloc::string::String>().map(|text| &**text));
    Arc::from(text.unwrap_or("a panic without a message"))
}

/// Drops a value of user code. A panic in its `Drop` goes no further.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn drop_quietly<T>(value: T) {
    if core::mem::needs_drop::<T>() {
        let dropped = std::panic::catch_unwind(AssertUnwindSafe(|| drop(value)));
        // The payload of that panic may panic in its own `Drop`. A leak is better than an abort.
        let _ = dropped.map_err(core::mem::forget);
    }
}

/// Drops a value of user code.
#[cfg(not(feature = "std"))]
#[inline]
pub(crate) fn drop_quietly<T>(value: T) {
    drop(value);
}

pin_project! {
    /// A future whose panics become errors: in `poll`, and in the `Drop` of the inner future.
    pub(crate) struct CatchUnwind<F> {
        // `None` once it is ready.
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for CatchUnwind<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            if future.is_some() {
                let _ = catch_unwind(|| future.set(None));
            }
        }
    }
}

impl<F> CatchUnwind<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(future) }
    }
}

impl<F: Future> Future for CatchUnwind<F> {
    type Output = Result<F::Output, Arc<str>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let Some(inner) = future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let output = match catch_unwind(|| inner.poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(message) => Err(message),
        };
        // In a section of its own: if both this and the output's `Drop` panicked in one section,
        // the second panic would abort the process.
        let _ = catch_unwind(|| future.set(None));
        Poll::Ready(output)
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use core::future::{Future, poll_fn, ready};
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    use super::{CatchUnwind, catch_unwind, drop_quietly};

    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    fn poll<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_panic_becomes_its_message() {
        let result = catch_unwind(|| panic!("number {}", 7));
        assert_eq!(result.map_err(|message| message == "number 7".into()), Err::<(), _>(true));
    }

    #[test]
    fn a_payload_that_panics_in_drop_goes_no_further() {
        let result = catch_unwind(|| std::panic::panic_any(PanicsInDrop));
        assert!(result.is_err());
        drop_quietly(PanicsInDrop);
    }

    #[test]
    fn a_panic_of_a_futures_drop_does_not_change_its_output() {
        let guard = PanicsInDrop;
        let future = CatchUnwind::new(async move {
            let _guard = guard;
            core::future::pending::<()>().await;
        });
        assert!(poll(future).is_pending());

        let guard = PanicsInDrop;
        let future = CatchUnwind::new(poll_fn(move |_| {
            let _ = &guard;
            Poll::Ready(7)
        }));
        assert_eq!(poll(future), Poll::Ready(Ok(7)));
    }

    #[test]
    fn a_ready_future_gives_its_output() {
        assert_eq!(poll(CatchUnwind::new(ready(7))), Poll::Ready(Ok(7)));
    }
}
