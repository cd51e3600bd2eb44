//! For how long a handler's call may take.

use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use pin_project_lite::pin_project;

use crate::contain::contained;
use crate::error::FailureCause;
use crate::runtime::{BoxFuture, Timer};

/// A handler's time-out, and the timer that tells.
#[derive(Clone)]
pub(crate) struct Deadline {
    after: Duration,
    timer: Arc<dyn Timer>,
}

impl Deadline {
    pub(crate) fn new(after: Duration, timer: Arc<dyn Timer>) -> Self {
        Self { after, timer }
    }

    pub(crate) fn after(&self) -> Duration {
        self.after
    }

    pub(crate) fn now(&self) -> Duration {
        self.timer.now()
    }

    /// When a call that begins now is due.
    pub(crate) fn due(&self) -> Duration {
        self.now().saturating_add(self.after)
    }

    pub(crate) fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.timer.sleep(wait)
    }
}

pin_project! {
    /// A future that may take so long. The timer is asked only once it has to be waited for.
    pub(crate) struct Within<'a, F> {
        #[pin]
        future: F,
        deadline: Option<&'a Deadline>,
        sleep: Option<BoxFuture<'static, ()>>,
    }
}

impl<'a, F> Within<'a, F> {
    pub(crate) fn new(future: F, deadline: Option<&'a Deadline>) -> Self {
        Self {
            future,
            deadline,
            sleep: None,
        }
    }
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Result<F::Output, FailureCause>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some(deadline) = this.deadline else { return Poll::Pending };
        // A timer whose runtime is gone may panic: then the time is up.
        let slept = contained(|| this.sleep.get_or_insert_with(|| deadline.sleep(deadline.after)).as_mut().poll(cx));
        slept
            .unwrap_or(Poll::Ready(()))
            .map(|()| Err(FailureCause::TimedOut(deadline.after)))
    }
}
