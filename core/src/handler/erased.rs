//! Async handlers without their type.

use alloc::sync::Arc;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};

use super::{AsyncCallbackHandler, HandlerFuture};
use crate::model::context::EventContext;
use crate::model::error::HandlerResult;
use crate::model::event::{Event, Interest};

/// The dyn-compatible form of [`AsyncCallbackHandler`], as the dispatcher keeps it.
pub(crate) trait ErasedAsyncHandler: Send + Sync {
    fn handler_name(&self) -> &str;

    fn handler_interest(&self) -> Interest;

    /// Starts a call. It panics if the handler's `on_event` does.
    fn call<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a>;

    /// Makes a call in `place` and polls it once. A call that is pending stays in `place`, and the
    /// others are dropped. If the drop panics, the answer is in `answer`, as any answer is other than
    /// that of a handled event.
    ///
    /// It is one function, so that the future's type is known where it is made, polled and dropped.
    fn ask<'a>(
        &'a self,
        event: &'a Event,
        cx: &'a EventContext,
        place: Pin<&mut Option<HandlerFuture<'a>>>,
        task: &mut Context<'_>,
        answer: &mut FirstAnswer,
    ) -> FirstPoll;
}

/// What a call's first poll came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstPoll {
    Handled,
    /// Another answer.
    Answered,
    Pending,
}

/// The answer of a call's first poll, until it is taken.
#[derive(Default)]
pub(crate) struct FirstAnswer {
    /// Most calls handle the event. This is quicker to write than a result.
    handled: bool,
    other: Option<HandlerResult>,
}

impl FirstAnswer {
    pub(crate) fn take(&mut self) -> Option<HandlerResult> {
        match core::mem::take(&mut self.handled) {
            true => Some(Ok(())),
            false => self.other.take(),
        }
    }
}

impl<H: AsyncCallbackHandler> ErasedAsyncHandler for H {
    fn handler_name(&self) -> &str {
        self.name()
    }

    fn handler_interest(&self) -> Interest {
        self.interest()
    }

    fn call<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        self.on_event(event, cx)
    }

    #[inline]
    fn ask<'a>(
        &'a self,
        event: &'a Event,
        cx: &'a EventContext,
        place: Pin<&mut Option<HandlerFuture<'a>>>,
        task: &mut Context<'_>,
        answer: &mut FirstAnswer,
    ) -> FirstPoll {
        match event {
            // Apart, so that the compiler sees that a token's call has one type.
            Event::LlmNewToken(_) => {
                FirstPoll::of(|| self.on_event(event, cx), place, task, answer)
            }
            _ => FirstPoll::of_other(|| self.on_event(event, cx), place, task, answer),
        }
    }
}

impl FirstPoll {
    #[inline(never)]
    fn of_other<'a>(
        call: impl FnOnce() -> HandlerFuture<'a>,
        place: Pin<&mut Option<HandlerFuture<'a>>>,
        task: &mut Context<'_>,
        answer: &mut FirstAnswer,
    ) -> Self {
        Self::of(call, place, task, answer)
    }

    #[inline(always)]
    fn of<'a>(
        call: impl FnOnce() -> HandlerFuture<'a>,
        mut place: Pin<&mut Option<HandlerFuture<'a>>>,
        task: &mut Context<'_>,
        answer: &mut FirstAnswer,
    ) -> Self {
        if place.is_some() {
            place.set(None);
        }
        place.set(Some(call()));
        let call = place.as_mut().as_pin_mut();
        match call.map_or(Poll::Pending, |call| call.poll(task)) {
            Poll::Ready(Ok(())) => {
                // A panic of the future's drop does not change the answer.
                answer.handled = true;
                place.set(None);
                answer.handled = false;
                FirstPoll::Handled
            }
            Poll::Ready(other) => {
                answer.other = Some(other);
                place.set(None);
                FirstPoll::Answered
            }
            Poll::Pending => FirstPoll::Pending,
        }
    }
}

/// An async handler without its type, for lists of handlers of several types.
///
/// `AsyncCallbackHandler` is not dyn-compatible, because its methods are `async fn`s.
///
/// ```
/// use rappel_core::{DynAsyncHandler, async_handler_fn};
///
/// let plugins: Vec<DynAsyncHandler> = vec![
///     DynAsyncHandler::new(async_handler_fn(async |event, _| {
///         println!("{}", event.kind());
///         Ok(())
///     })),
/// ];
/// # let _ = plugins;
/// ```
#[derive(Clone)]
pub struct DynAsyncHandler(Arc<dyn ErasedAsyncHandler>);

impl DynAsyncHandler {
    /// Erases the type of a handler.
    pub fn new(handler: impl AsyncCallbackHandler) -> Self {
        Self(Arc::new(handler))
    }
}

impl AsyncCallbackHandler for DynAsyncHandler {
    fn name(&self) -> &str {
        self.0.handler_name()
    }

    fn interest(&self) -> Interest {
        self.0.handler_interest()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        self.0.call(event, cx)
    }
}

impl fmt::Debug for DynAsyncHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DynAsyncHandler").field(&self.0.handler_name()).finish()
    }
}
