//! Handlers whose methods are `async fn`s.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::{Future, ready};
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;
use stackfuture::StackFuture;

use crate::error::{HandlerError, HandlerResult};
use crate::event::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent, Event, Interest, LlmEnd, LlmError,
    LlmNewToken, LlmStart, RetrieverEnd, RetrieverError, RetrieverStart, Retry, Text, ToolEnd, ToolError, ToolStart, for_each_event,
};
use crate::run_info::RunInfo;

/// How many bytes of a handler's future fit without a box. Small ones are the rule, and a larger slot costs every call its copy.
const SLOT: usize = 64;

pin_project! {
    /// What an async handler makes of one event, its type forgotten: in place up to 64 bytes, in a box beyond.
    #[must_use = "futures do nothing unless they are polled"]
    pub struct HandlerFuture<'a> {
        #[pin]
        future: StackFuture<'a, HandlerResult, SLOT>,
    }
}

impl<'a> HandlerFuture<'a> {
    /// Forgets the future's type.
    #[inline]
    pub fn new(future: impl Future<Output = HandlerResult> + Send + 'a) -> Self {
        Self {
            future: StackFuture::from_or_box(future),
        }
    }

    /// The answer of a handler that does not handle this kind of event.
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
        /// It is polled on the emitter's own task, side by side with the other async handlers: while it waits, nobody waits but the emitter.
        /// A method that blocks its thread blocks the event loop: that is what [`CallbackHandler`](crate::CallbackHandler) is for. Runs that
        /// go on at the same time call it at the same time, so it takes `&self`; within one run its calls never overlap.
        ///
        /// Implement the methods of the events that you want, as plain `async fn`s; the others answer [`HandlerError::unhandled`], and are
        /// not asked for again.
        ///
        /// A call that began runs to its end, also when the emitter is dropped meanwhile: the manager's spawner then takes it over.
        ///
        /// ```
        /// use rappel_core::{AsyncCallbackHandler, HandlerResult, LlmEnd, RunInfo};
        ///
        /// struct Auditor;
        ///
        /// impl AsyncCallbackHandler for Auditor {
        ///     async fn on_llm_end(&self, end: &LlmEnd, run: &RunInfo) -> HandlerResult {
        ///         println!("{} used {:?}", run.name(), end.result.usage);
        ///         Ok(())
        ///     }
        /// }
        /// ```
        pub trait AsyncCallbackHandler: Send + Sync + 'static {
            /// The handler's name in reports; the type's name unless it is overridden. Asked once, at registration.
            fn name(&self) -> &str {
                core::any::type_name::<Self>()
            }

            /// Which events the handler wants; all unless it is overridden. Asked once, at registration.
            fn interest(&self) -> Interest {
                Interest::all()
            }

            $(
                #[doc = $doc]
                ///
                /// # Errors
                /// [`HandlerError::unhandled`] unless it is overridden, and whatever the handler fails with.
                fn $method(&self, event: &$variant, run: &RunInfo) -> impl Future<Output = HandlerResult> + Send {
                    let _ = (event, run);
                    ready(Err(HandlerError::unhandled()))
                }
            )+

            /// Every event comes in here, and goes on to the method of its kind. Override it to take all events in one place; a wrapper
            /// forwards it and passes the answer on.
            fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
                match event {
                    $(Event::$variant(payload) => HandlerFuture::new(self.$method(payload, run)),)+
                }
            }
        }
    };
}
for_each_event!(async_handler);

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        impl<H: AsyncCallbackHandler> AsyncCallbackHandler for $pointer<H> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn interest(&self) -> Interest {
                (**self).interest()
            }

            fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
                (**self).on_event(event, run)
            }
        }
    )+};
}
forward!(Arc, Box);

/// [`AsyncCallbackHandler`] as the dispatcher keeps it: dyn-compatible.
pub(crate) trait ErasedAsyncHandler: Send + Sync {
    /// Panics where the method does, as the future may when it is polled.
    fn call<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a>;

    /// The same, with the future made where it stays: to move it there right after would take as long as to poll it.
    fn call_in<'a>(&'a self, event: &'a Event, run: &'a RunInfo, place: Pin<&mut Option<HandlerFuture<'a>>>);
}

impl<H: AsyncCallbackHandler> ErasedAsyncHandler for H {
    fn call<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        self.on_event(event, run)
    }

    fn call_in<'a>(&'a self, event: &'a Event, run: &'a RunInfo, mut place: Pin<&mut Option<HandlerFuture<'a>>>) {
        place.set(Some(self.on_event(event, run)));
    }
}
