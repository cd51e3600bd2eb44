//! Thread-bound handlers as handlers of core, which are `Send`.

use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, Event, EventContext, HandlerFuture, HandlerResult,
    Interest,
};

use crate::asynchronous::{LocalAsyncCallbackHandler, LocalHandlerFuture};
use crate::thread_bound::ThreadBound;

/// A handler that other threads cannot use, and its answers to the questions that core asks at
/// registration.
struct Adapted<H> {
    handler: ThreadBound<H>,
    name: String,
    interest: Interest,
}

struct Sync<H>(Adapted<H>);

struct Async<H>(Adapted<H>);

pub(crate) fn adapt_sync<H: CallbackHandler>(handler: H) -> impl CallbackHandler + Send {
    Sync(Adapted {
        name: handler.name().to_owned(),
        interest: handler.interest(),
        handler: ThreadBound::new(handler),
    })
}

pub(crate) fn adapt_async<H: LocalAsyncCallbackHandler>(handler: H) -> impl AsyncCallbackHandler {
    Async(Adapted {
        name: handler.name().to_owned(),
        interest: handler.interest(),
        handler: ThreadBound::new(handler),
    })
}

impl<H: CallbackHandler> CallbackHandler for Sync<H> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn interest(&self) -> Interest {
        self.0.interest
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.0.handler.get_mut()?.on_event(event, cx)
    }
}

impl<H: LocalAsyncCallbackHandler> AsyncCallbackHandler for Async<H> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn interest(&self) -> Interest {
        self.0.interest
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        match self.0.handler.get() {
            Ok(handler) => HandlerFuture::new(Call(ThreadBound::new(handler.on_event(event, cx)))),
            Err(wrong_thread) => HandlerFuture::new(ready(Err(wrong_thread.into()))),
        }
    }
}

/// A call in progress. Polled on another thread, it fails.
struct Call<'a>(ThreadBound<LocalHandlerFuture<'a>>);

impl Future for Call<'_> {
    type Output = HandlerResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult> {
        match self.0.get_mut() {
            Ok(call) => Pin::new(call).poll(cx),
            Err(wrong_thread) => Poll::Ready(Err(wrong_thread.into())),
        }
    }
}
