//! Handlers whose methods are `async fn`s.

use core::fmt;
use core::future::{Future, ready};
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;
use stackfuture::StackFuture;

use crate::model::context::EventContext;
use crate::model::error::{HandlerError, HandlerResult};
use crate::model::event::{self, Event, Interest, for_each_event};

/// Size of a handler's future that needs no box, in bytes. Most are small, and every call copies the
/// whole slot.
const SLOT: usize = 64;

pin_project! {
    /// The call of an async handler for one event, without its type. A future of up to 64 bytes is
    /// stored in place, a larger one in a box.
    #[must_use = "futures do nothing unless polled"]
    pub struct HandlerFuture<'a> {
        #[pin]
        future: StackFuture<'a, HandlerResult, SLOT>,
    }
}

impl<'a> HandlerFuture<'a> {
    /// Erases the type of a future.
    #[inline]
    pub fn new(future: impl Future<Output = HandlerResult> + Send + 'a) -> Self {
        Self { future: StackFuture::from_or_box(future) }
    }

    /// Makes the result of a handler that does not handle events of this kind.
    pub fn unhandled() -> Self {
        Self::new(ready(Err(HandlerError::unhandled())))
    }
}

impl Future for HandlerFuture<'_> {
    type Output = HandlerResult;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<HandlerResult> {
        self.project().future.poll(cx)
    }
}

impl fmt::Debug for HandlerFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFuture")
    }
}

macro_rules! async_handler {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// A handler whose methods are `async fn`s.
        ///
        /// The dispatcher polls it on the emitter's own task, side by side with the other async
        /// handlers. A method that blocks its thread blocks the event loop: use a
        /// [`CallbackHandler`](crate::CallbackHandler) for that. The calls of one run never overlap.
        /// Runs that are open at the same time call it at the same time, so it takes `&self`.
        ///
        /// Implement the methods of the events that you want, as plain `async fn`s. The others
        /// return [`HandlerError::unhandled`], and the dispatcher stops calling them.
        ///
        /// A call that began runs to its end, even if the emitter is dropped: a task of the manager's
        /// runtime then polls it.
        ///
        /// ```
        /// use rappel_core::{AsyncCallbackHandler, EventContext, HandlerResult, LlmEnd};
        ///
        /// struct Auditor;
        ///
        /// impl AsyncCallbackHandler for Auditor {
        ///     async fn on_llm_end(&self, end: &LlmEnd, cx: &EventContext) -> HandlerResult {
        ///         println!("{} used {:?}", cx.name(), end.result.usage);
        ///         Ok(())
        ///     }
        /// }
        /// ```
        #[diagnostic::on_unimplemented(
            message = "`{Self}` is not an async callback handler",
            label = "this does not implement `AsyncCallbackHandler`",
            note = "if it implements `CallbackHandler`, register it with `with_handler`",
            note = "if it is a closure, wrap it: `async_handler_fn(async |event, cx| ...)`"
        )]
        pub trait AsyncCallbackHandler: Send + Sync + 'static {
            /// Returns the handler's name for reports. The default is the name of its type. It is
            /// called once, at registration.
            fn name(&self) -> &str {
                core::any::type_name::<Self>()
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
                    event: &event::$variant,
                    cx: &EventContext,
                ) -> impl Future<Output = HandlerResult> + Send {
                    let _ = (event, cx);
                    ready(Err(HandlerError::unhandled()))
                }
            )+

            /// Gets every event and calls the method of its kind. Override it to handle all events
            /// in one place. A wrapper calls the inner handler's `on_event` and returns its future.
            #[inline]
            fn on_event<'a>(
                &'a self,
                event: &'a Event,
                cx: &'a EventContext,
            ) -> HandlerFuture<'a> {
                match event {
                    // Tokens are many. This is small enough to be inlined, and then the future's
                    // type is known where it is polled.
                    Event::LlmNewToken(token) => {
                        HandlerFuture::new(self.on_llm_new_token(token, cx))
                    }
                    event => by_kind(self, event, cx),
                }
            }
        }

        /// Calls the method of an event's kind.
        #[inline(never)]
        fn by_kind<'a, H: AsyncCallbackHandler + ?Sized>(
            handler: &'a H,
            event: &'a Event,
            cx: &'a EventContext,
        ) -> HandlerFuture<'a> {
            match event {
                $(Event::$variant(payload) => HandlerFuture::new(handler.$method(payload, cx)),)+
            }
        }
    };
}
for_each_event!(async_handler);
