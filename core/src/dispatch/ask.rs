//! Asking an async handler.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use pin_project_lite::pin_project;

use super::{Answer, HandlerMeta};
use crate::handler::ErasedAsyncHandler;
use crate::model::context::EventContext;
use crate::model::emitter::WithinEmitter;
use crate::model::error::{FailureCause, HandlerResult};
use crate::model::event::{Event, EventKind};
use crate::runtime::{BoxFuture, Runtime};
use crate::util::{CatchUnwind, catch_unwind};

/// A handler and what it is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) meta: &'a HandlerMeta,
    pub(crate) handler: &'a dyn ErasedAsyncHandler,
    pub(crate) event: &'a Event,
    pub(crate) cx: &'a EventContext,
}

/// A handler's time-out.
#[derive(Clone, Copy)]
pub(crate) struct Timeout<'a> {
    pub(crate) after: Duration,
    /// What is left of it.
    pub(crate) left: Duration,
    pub(crate) runtime: &'a dyn Runtime,
}

/// A call that was polled and is pending in its place.
pub(crate) type Begun<'a> = Pin<&'a mut (dyn Future<Output = HandlerResult> + Send + 'a)>;

/// Asks the handler, and once more if it leaves a chat model's start to `on_llm_start`.
pub(crate) async fn ask_async(asked: Asked<'_>, timeout: Option<Timeout<'_>>) -> Answer {
    go_on(asked, None, timeout).await
}

/// Asks the handler as [`ask_async`] does, or goes on with a call that has begun.
pub(crate) async fn go_on(
    asked: Asked<'_>,
    begun: Option<Begun<'_>>,
    timeout: Option<Timeout<'_>>,
) -> Answer {
    let kind = asked.event.kind();
    let both = async {
        let answer = match begun {
            Some(begun) => CatchUnwind::new(WithinEmitter::new(asked.cx, begun)).await,
            None if asked.meta.takes(kind) => call(asked, asked.event).await,
            None => return fall_back(asked).await,
        };
        match learn(asked, kind, answer) {
            Answer::Unhandled => fall_back(asked).await,
            answer => answer,
        }
    };
    let answer = WithTimeout::new(both, timeout).await;
    answer.unwrap_or_else(|cause| Answer::Failed(kind, cause))
}

fn learn(asked: Asked<'_>, kind: EventKind, answer: Result<HandlerResult, Arc<str>>) -> Answer {
    asked.meta.learn(kind, answer.map_err(FailureCause::Panicked))
}

/// Asks about what stands in for an event that was not handled.
async fn fall_back(asked: Asked<'_>) -> Answer {
    let Some(event) = asked.meta.fallback(asked.event) else { return Answer::Unhandled };
    // Boxed: few calls come here, and the others need not make room for it.
    learn(asked, event.kind(), Box::pin(call(asked, &event)).await)
}

/// Makes one call. A panic while it is made or polled is an error; one while it is dropped changes
/// nothing.
async fn call(asked: Asked<'_>, event: &Event) -> Result<HandlerResult, Arc<str>> {
    // The future is not awaited in a block of its own, which would drop it where panics are errors.
    let cx = asked.cx;
    let call = catch_unwind(|| cx.within_emitter(|| asked.handler.call(event, cx)))?;
    CatchUnwind::new(WithinEmitter::new(cx, call)).await
}

pin_project! {
    /// A future that may take so long. The timer is asked when the future is first pending.
    pub(crate) struct WithTimeout<'a, F> {
        #[pin]
        future: F,
        timeout: Option<Timeout<'a>>,
        sleep: Option<BoxFuture<'static, ()>>,
    }
}

impl<'a, F> WithTimeout<'a, F> {
    pub(crate) fn new(future: F, timeout: Option<Timeout<'a>>) -> Self {
        Self { future, timeout, sleep: None }
    }
}

impl<F: Future> Future for WithTimeout<'_, F> {
    type Output = Result<F::Output, FailureCause>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let Some(Timeout { after, left, runtime }) = *this.timeout else { return Poll::Pending };
        let Some(timer) = runtime.timer() else { return Poll::Pending };
        let sleep = this.sleep;
        let slept =
            catch_unwind(|| sleep.get_or_insert_with(|| timer.sleep(left)).as_mut().poll(cx));
        match slept {
            Ok(poll) => poll.map(|()| Err(FailureCause::TimedOut(after))),
            // A timer whose runtime is gone may panic.
            Err(_) => Poll::Ready(Err(FailureCause::RuntimeGone)),
        }
    }
}
