//! Registration in one line.

use rappel_core::{CallbackHandler, CallbackManager, HandlerId, HandlerOptions, SendHandler};

/// A sync handler that knows the options that suit it: its delivery above all.
///
/// Implement it for a handler of yours to register it with [`With::with`]. A wrapper of this crate,
/// such as [`Filter`](crate::Filter), has the options of the handler inside it.
pub trait Suited: CallbackHandler + SendHandler {
    /// Returns the options that suit the handler.
    fn options(&self) -> HandlerOptions;
}

/// A value that can be registered with [`With::with`]: a [`Suited`] handler, or an async handler of
/// this crate.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no options of its own",
    label = "this handler does not implement `Suited`",
    note = "register it with `with_handler`, `with_async_handler` or their `_options` forms",
    note = "a wrapper such as `Filter` has the options of the handler inside it"
)]
pub trait Register {
    /// Registers the handler with the options that suit it.
    fn register(self, callbacks: &mut CallbackManager) -> HandlerId;
}

impl<H: Suited> Register for H {
    /// # Panics
    /// If the options have a time-out and the manager has no timer. No handler of this crate has a
    /// time-out.
    fn register(self, callbacks: &mut CallbackManager) -> HandlerId {
        let options = self.options();
        match callbacks.add_handler_options(self, options) {
            Ok(id) => id,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Registers a handler with the options that suit it.
///
/// ```
/// use rappel_handlers::{StreamingStdout, Usage, With};
/// use rappel_threads::prelude::*;
///
/// let usage = Usage::new();
/// let callbacks =
///     CallbackManager::new(Threads::new()).with(StreamingStdout::new()).with(usage.clone());
/// # let _ = callbacks;
/// ```
pub trait With {
    /// Adds a handler with the options that suit it.
    #[must_use]
    fn with(self, handler: impl Register) -> Self;

    /// Adds a handler with the options that suit it. The id removes it again.
    fn add(&mut self, handler: impl Register) -> HandlerId;
}

impl With for CallbackManager {
    fn with(mut self, handler: impl Register) -> Self {
        self.add(handler);
        self
    }

    fn add(&mut self, handler: impl Register) -> HandlerId {
        handler.register(self)
    }
}
