//! Local handlers as core's: everything between an event and its handler is core's own, and these let it through on the handler's thread only.

use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use rappel_core::{AsyncCallbackHandler, CallbackHandler, Event, HandlerFuture, HandlerResult, Interest, RunInfo};

use crate::handler::{LocalAsyncCallbackHandler, LocalCallbackHandler, LocalHandlerFuture};
use crate::home::AtHome;

/// A local handler, and what core asks of it at registration.
pub(crate) struct Adapted<H> {
    handler: AtHome<H>,
    name: String,
    interest: Interest,
}

pub(crate) fn adapt_sync<H: LocalCallbackHandler>(handler: H) -> impl CallbackHandler {
    Sync(Adapted {
        name: handler.name().to_owned(),
        interest: handler.interest(),
        handler: AtHome::new(handler),
    })
}

pub(crate) fn adapt_async<H: LocalAsyncCallbackHandler>(handler: H) -> impl AsyncCallbackHandler {
    Async(Adapted {
        name: handler.name().to_owned(),
        interest: handler.interest(),
        handler: AtHome::new(handler),
    })
}

struct Sync<H>(Adapted<H>);

impl<H: LocalCallbackHandler> CallbackHandler for Sync<H> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn interest(&self) -> Interest {
        self.0.interest
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        self.0.handler.get_mut()?.on_event(event, run)
    }
}

struct Async<H>(Adapted<H>);

impl<H: LocalAsyncCallbackHandler> AsyncCallbackHandler for Async<H> {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn interest(&self) -> Interest {
        self.0.interest
    }

    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        match self.0.handler.get() {
            Ok(handler) => HandlerFuture::new(Call(AtHome::new(handler.on_event(event, run)))),
            Err(foreign) => HandlerFuture::new(ready(Err(foreign.into()))),
        }
    }
}

/// A call that goes on. Polled on another thread it fails, and is leaked there.
struct Call<'a>(AtHome<LocalHandlerFuture<'a>>);

impl Future for Call<'_> {
    type Output = HandlerResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult> {
        match self.0.get_mut() {
            Ok(call) => Pin::new(call).poll(cx),
            Err(foreign) => Poll::Ready(Err(foreign.into())),
        }
    }
}
