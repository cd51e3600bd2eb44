//! Waking tasks, and giving them turns.

use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use super::catch_unwind::catch_unwind;

/// Wakes a task. A panic of the waker, which is user code, goes no further.
pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(|| waker.wake());
}

/// Lets other tasks of this thread run once: it is pending once and wakes its task at once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if core::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Calls a closure with the context of the task that it is awaited in.
pub(crate) struct WithContext<F>(pub(crate) F);

impl<O, F: FnMut(&mut Context<'_>) -> O + Unpin> Future for WithContext<F> {
    type Output = O;

    // Each token comes by here, and `poll_fn` may be a call of its own.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        Poll::Ready((self.0)(cx))
    }
}
