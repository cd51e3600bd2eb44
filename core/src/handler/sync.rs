//! Handlers whose methods are plain functions.

use alloc::boxed::Box;
#[cfg(feature = "std")]
use alloc::sync::Arc;

use crate::error::{HandlerError, HandlerResult};
use crate::event::{
    AgentAction, AgentFinish, ChainEnd, ChainError, ChainStart, ChatModelStart, CustomEvent, Event, Interest, LlmEnd, LlmError,
    LlmNewToken, LlmStart, RetrieverEnd, RetrieverError, RetrieverStart, Retry, Text, ToolEnd, ToolError, ToolStart, for_each_event,
};
use crate::run_info::RunInfo;

macro_rules! sync_handler {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// A handler whose methods are plain functions, which may block.
        ///
        /// It is called off the event loop, on the manager's [`BlockingExecutor`](crate::BlockingExecutor), one call at a time, in the order
        /// of emission; so it needs no lock, and asks only for [`Send`]. Implement the methods of the events that you want; the others
        /// answer [`HandlerError::unhandled`], and are not asked for again.
        ///
        /// An error or a panic of a method harms neither the run nor another handler: it is reported to the manager's
        /// [`on_handler_failure`](crate::CallbackManager::on_handler_failure). After a panic the handler is called with the state that the
        /// panic left.
        ///
        /// ```
        /// use rappel_core::{CallbackHandler, HandlerResult, LlmNewToken, RunInfo};
        ///
        /// struct Printer;
        ///
        /// impl CallbackHandler for Printer {
        ///     fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
        ///         print!("{}", token.token);
        ///         Ok(())
        ///     }
        /// }
        /// ```
        pub trait CallbackHandler: Send + 'static {
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
                }
            }
        }
    };
}
for_each_event!(sync_handler);

impl<H: CallbackHandler + ?Sized> CallbackHandler for Box<H> {
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

/// A handler whose state its owner reads back: keep a clone of the `Arc`.
///
/// The lock is the owner's, and is held while the handler is called: a reader that keeps it makes the handler wait.
#[cfg(feature = "std")]
impl<H: CallbackHandler> CallbackHandler for Arc<std::sync::Mutex<H>> {
    fn name(&self) -> &str {
        core::any::type_name::<H>()
    }

    fn interest(&self) -> Interest {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner).interest()
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        self.lock().unwrap_or_else(std::sync::PoisonError::into_inner).on_event(event, run)
    }
}
