//! Handlers whose methods are plain functions.

use alloc::boxed::Box;

use crate::model::context::EventContext;
use crate::model::error::{HandlerError, HandlerResult};
use crate::model::event::{self, Event, Interest, for_each_event};

/// A boxed sync handler, for lists of handlers of several types.
pub type BoxHandler = Box<dyn CallbackHandler + Send>;

/// A handler that can be sent to another thread. Every [`Send`] type implements it.
///
/// Registration asks for it instead of `Send`, so that the compiler's error names the fix.
#[diagnostic::on_unimplemented(
    message = "the handler `{Self}` cannot be sent between threads",
    label = "this handler is not `Send`",
    note = "a handler that stays on one thread goes to a `rappel_local::LocalCallbackManager`",
    note = "or share its state with `Arc<Mutex<_>>` instead of `Rc<RefCell<_>>`"
)]
pub trait SendHandler: Send {}

#[diagnostic::do_not_recommend]
impl<H: Send + ?Sized> SendHandler for H {}

macro_rules! sync_handler {
    ($($variant:ident $method:ident $group:ident $doc:literal,)+) => {
        /// A handler whose methods are plain functions, which may block.
        ///
        /// The dispatcher calls it off the event loop, on the manager's
        /// [`BlockingExecutor`](crate::BlockingExecutor). It makes one call at a time, in the order
        /// of emission, so a handler needs no lock. Implement the methods of the events that you
        /// want. The others return [`HandlerError::unhandled`], and the dispatcher stops calling
        /// them.
        ///
        /// An error or a panic of a method harms neither the run nor another handler. The dispatcher
        /// reports it to
        /// [`on_handler_failure`](crate::CallbackManager::on_handler_failure). After a panic the
        /// handler is called again, with the state that the panic left.
        ///
        /// A manager's handlers must also be [`Send`]. Registration checks that
        /// ([`SendHandler`]).
        ///
        /// ```
        /// use rappel_core::{CallbackHandler, EventContext, HandlerResult, LlmNewToken};
        ///
        /// struct Printer;
        ///
        /// impl CallbackHandler for Printer {
        ///     fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
        ///         print!("{}", token.token);
        ///         Ok(())
        ///     }
        /// }
        /// ```
        #[diagnostic::on_unimplemented(
            message = "`{Self}` is not a sync callback handler",
            label = "this does not implement `CallbackHandler`",
            note = "if it implements `AsyncCallbackHandler`, register it with `with_async_handler`",
            note = "if it is a closure, wrap it: `handler_fn(|event, cx| ...)`",
            note = "if it is an `Arc<H>`, make it an `Arc<Mutex<H>>`: sync handlers are called with \
                    `&mut self`"
        )]
        pub trait CallbackHandler: 'static {
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
                fn $method(&mut self, event: &event::$variant, cx: &EventContext) -> HandlerResult {
                    let _ = (event, cx);
                    Err(HandlerError::unhandled())
                }
            )+

            /// Gets every event and calls the method of its kind. Override it to handle all events
            /// in one place. A wrapper calls the inner handler's `on_event` and returns its result.
            ///
            /// # Errors
            /// Those of the method.
            fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
                match event {
                    $(Event::$variant(payload) => self.$method(payload, cx),)+
                }
            }
        }
    };
}
for_each_event!(sync_handler);
