//! Waking tasks, and giving them turns.

use core::future::poll_fn;
use core::task::{Poll, Waker};

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
