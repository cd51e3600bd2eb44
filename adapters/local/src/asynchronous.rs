//! The async handler trait without `Send`: a twin of core's, made from core's own table of events.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use rappel_core::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent, Event,
    EventContext, HandlerError, HandlerResult, Interest, LlmEnd, LlmError, LlmNewToken, LlmStart,
    RetrieverEnd, RetrieverError, RetrieverStart, Retry, Text, ToolEnd, ToolError, ToolStart,
    for_each_event,
};

/// A boxed call of a [`LocalAsyncCallbackHandler`].
#[must_use = "futures do nothing unless they are polled"]
pub struct LocalHandlerFuture<'a>(LocalBoxFuture<'a, HandlerResult>);

impl<'a> LocalHandlerFuture<'a> {
    /// Boxes the future.
    pub fn new(future: impl Future<Output = HandlerResult> + 'a) -> Self {
        // In a box, so that it can be leaked when another thread drops it.
        Self(Box::pin(future))
    }

    /// The call of a handler that does not handle this kind of event.
    pub fn unhandled() -> Self {
        Self::new(ready(Err(HandlerError::unhandled())))
    }
}

impl Future for LocalHandlerFuture<'_> {
    type Output = HandlerResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for LocalHandlerFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalHandlerFuture")
    }
}

macro_rules! local_handler {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// An async handler that stays on its thread: the twin of
        /// [`AsyncCallbackHandler`](rappel_core::AsyncCallbackHandler) whose futures need not be
        /// `Send`.
        ///
        /// The dispatcher polls it where it polls core's handlers: on the emitter's own task, unless
        /// its options say otherwise. That must be the handler's thread. Implement the methods of the
        /// events that you want, as plain `async fn`s. The others return
        /// [`HandlerError::unhandled`], and the dispatcher stops calling them.
        ///
        /// ```
        /// use std::cell::Cell;
        /// use std::rc::Rc;
        ///
        /// use rappel_local::{EventContext, HandlerResult, LlmEnd, LocalAsyncCallbackHandler};
        ///
        /// struct Count(Rc<Cell<u32>>);
        ///
        /// impl LocalAsyncCallbackHandler for Count {
        ///     async fn on_llm_end(&self, _end: &LlmEnd, _cx: &EventContext) -> HandlerResult {
        ///         self.0.set(self.0.get() + 1);
        ///         Ok(())
        ///     }
        /// }
        /// ```
        #[diagnostic::on_unimplemented(
            message = "`{Self}` is not a local async callback handler",
            label = "this does not implement `LocalAsyncCallbackHandler`",
            note = "if it implements `CallbackHandler`, register it with `with_handler`",
            note = "if it implements `AsyncCallbackHandler`, register it on the inner manager: \
                    `callbacks.map(|callbacks| callbacks.with_async_handler(handler))`",
            note = "if it is a closure, wrap it: `local_async_handler_fn(async |event, cx| ...)`"
        )]
        pub trait LocalAsyncCallbackHandler: 'static {
            /// Returns the handler's name for reports. The default is the name of its type. It is
            /// called once, at registration.
            fn name(&self) -> &str {
                std::any::type_name::<Self>()
            }

            /// Returns the events that the handler is interested in. The default is all of them. It
            /// is called once, at registration.
            fn interest(&self) -> Interest {
                Interest::all()
            }

            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// Any error of the handler. The default is [`HandlerError::unhandled`].
                fn $method(
                    &self,
                    event: &$variant,
                    cx: &EventContext,
                ) -> impl Future<Output = HandlerResult> {
                    let _ = (event, cx);
                    ready(Err(HandlerError::unhandled()))
                }
            )+

            /// Gets every event and calls the method of its kind. Override it to handle all events
            /// in one place. A wrapper calls the inner handler's `on_event` and returns its future.
            fn on_event<'a>(
                &'a self,
                event: &'a Event,
                cx: &'a EventContext,
            ) -> LocalHandlerFuture<'a> {
                match event {
                    $(Event::$variant(payload) => LocalHandlerFuture::new(self.$method(payload, cx)),)+
                    _ => LocalHandlerFuture::unhandled(),
                }
            }
        }
    };
}
for_each_event!(local_handler);

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        impl<H: LocalAsyncCallbackHandler> LocalAsyncCallbackHandler for $pointer<H> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn interest(&self) -> Interest {
                (**self).interest()
            }

            fn on_event<'a>(
                &'a self,
                event: &'a Event,
                cx: &'a EventContext,
            ) -> LocalHandlerFuture<'a> {
                (**self).on_event(event, cx)
            }
        }
    )+};
}
forward!(Rc, Box);
