//! The handler traits without `Send`: twins of core's, written from core's own table of events.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use rappel_core::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent, Event, HandlerError, HandlerResult, Interest,
    LlmEnd, LlmError, LlmNewToken, LlmStart, RetrieverEnd, RetrieverError, RetrieverStart, Retry, RunInfo, Text, ToolEnd, ToolError,
    ToolStart, for_each_event,
};

/// What a [`LocalAsyncCallbackHandler`] makes of one event, its type forgotten: in a box, since it is left where it is when it is dropped on another thread.
#[must_use = "futures do nothing unless they are polled"]
pub struct LocalHandlerFuture<'a>(LocalBoxFuture<'a, HandlerResult>);

impl<'a> LocalHandlerFuture<'a> {
    /// Forgets the future's type.
    pub fn new(future: impl Future<Output = HandlerResult> + 'a) -> Self {
        Self(Box::pin(future))
    }

    /// The answer of a handler that does not handle this kind of event.
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

macro_rules! local_handlers {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// A sync handler that stays on its thread: the twin of [`CallbackHandler`](rappel_core::CallbackHandler) without `Send`.
        ///
        /// It is called in tasks of the local executor, one call at a time, in the order of emission, and shares the thread with everything else: it must
        /// not block. Implement the methods of the events that you want; the others answer [`HandlerError::unhandled`], and are not asked for again.
        /// Errors and panics harm nobody else, as with core's.
        ///
        /// ```
        /// use std::cell::RefCell;
        /// use std::rc::Rc;
        ///
        /// use rappel_local::{HandlerResult, LlmNewToken, LocalCallbackHandler, RunInfo};
        ///
        /// struct Page(Rc<RefCell<String>>);
        ///
        /// impl LocalCallbackHandler for Page {
        ///     fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
        ///         self.0.borrow_mut().push_str(&token.token);
        ///         Ok(())
        ///     }
        /// }
        /// ```
        pub trait LocalCallbackHandler: 'static {
            /// The handler's name in reports; the type's name unless it is overridden. Asked once, at registration.
            fn name(&self) -> &str {
                std::any::type_name::<Self>()
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
                fn $method(&mut self, event: &$variant, run: &RunInfo) -> HandlerResult {
                    let _ = (event, run);
                    Err(HandlerError::unhandled())
                }
            )+

            /// Every event comes in here, and goes on to the method of its kind. Override it to take all events in one place; a wrapper
            /// forwards it and passes the answer on.
            ///
            /// # Errors
            /// Those of the method.
            fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
                match event {
                    $(Event::$variant(payload) => self.$method(payload, run),)+
                    _ => Err(HandlerError::unhandled()),
                }
            }
        }

        /// An async handler that stays on its thread: the twin of [`AsyncCallbackHandler`](rappel_core::AsyncCallbackHandler), with futures that need not be
        /// `Send`.
        ///
        /// It is polled where core's are, which has to be its thread: the emitter's task, unless its options say otherwise.
        /// Implement the methods of the events that you want, as plain `async fn`s; the others answer [`HandlerError::unhandled`], and are not asked for again.
        ///
        /// ```
        /// use std::cell::Cell;
        /// use std::rc::Rc;
        ///
        /// use rappel_local::{HandlerResult, LlmEnd, LocalAsyncCallbackHandler, RunInfo};
        ///
        /// struct Count(Rc<Cell<u32>>);
        ///
        /// impl LocalAsyncCallbackHandler for Count {
        ///     async fn on_llm_end(&self, _end: &LlmEnd, _run: &RunInfo) -> HandlerResult {
        ///         self.0.set(self.0.get() + 1);
        ///         Ok(())
        ///     }
        /// }
        /// ```
        pub trait LocalAsyncCallbackHandler: 'static {
            /// The handler's name in reports; the type's name unless it is overridden. Asked once, at registration.
            fn name(&self) -> &str {
                std::any::type_name::<Self>()
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
                fn $method(&self, event: &$variant, run: &RunInfo) -> impl Future<Output = HandlerResult> {
                    let _ = (event, run);
                    ready(Err(HandlerError::unhandled()))
                }
            )+

            /// Every event comes in here, and goes on to the method of its kind. Override it to take all events in one place; a wrapper
            /// forwards it and passes the answer on.
            fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> LocalHandlerFuture<'a> {
                match event {
                    $(Event::$variant(payload) => LocalHandlerFuture::new(self.$method(payload, run)),)+
                    _ => LocalHandlerFuture::unhandled(),
                }
            }
        }
    };
}
for_each_event!(local_handlers);

impl<H: LocalCallbackHandler + ?Sized> LocalCallbackHandler for Box<H> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn interest(&self) -> Interest {
        (**self).interest()
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        (**self).on_event(event, run)
    }
}

/// A handler whose state its owner reads back: keep a clone of the `Rc`.
///
/// It is borrowed while it is called: a call that finds it borrowed by somebody else, across an `await` for example, fails.
impl<H: LocalCallbackHandler> LocalCallbackHandler for Rc<RefCell<H>> {
    fn name(&self) -> &str {
        std::any::type_name::<H>()
    }

    /// All events where it is borrowed.
    fn interest(&self) -> Interest {
        self.try_borrow().map_or(Interest::all(), |handler| handler.interest())
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        self.try_borrow_mut()?.on_event(event, run)
    }
}

macro_rules! forward {
    ($($pointer:ident),+) => {$(
        impl<H: LocalAsyncCallbackHandler> LocalAsyncCallbackHandler for $pointer<H> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn interest(&self) -> Interest {
                (**self).interest()
            }

            fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> LocalHandlerFuture<'a> {
                (**self).on_event(event, run)
            }
        }
    )+};
}
forward!(Rc, Box);
