//! Closures as handlers.
//!
//! A closure is wrapped and not a handler by itself: a blanket impl for `FnMut` would rule out the
//! impls for `Box`, `Option` and `Vec`.

use core::fmt;
use core::future::Future;

use super::{AsyncCallbackHandler, CallbackHandler, HandlerFuture};
use crate::model::context::EventContext;
use crate::model::error::HandlerResult;
use crate::model::event::Event;

/// Makes a sync handler of a closure. It gets every event.
///
/// ```
/// use rappel_core::{Event, handler_fn};
///
/// let mut tokens = 0;
/// let counter = handler_fn(move |event, cx| {
///     if let Event::LlmNewToken(_) = event {
///         tokens += 1;
///         println!("{}: {tokens} tokens", cx.name());
///     }
///     Ok(())
/// });
/// # let _ = counter;
/// ```
pub fn handler_fn<F>(f: F) -> HandlerFn<F>
where
    F: FnMut(&Event, &EventContext) -> HandlerResult + 'static,
{
    HandlerFn(f)
}

/// A closure as a sync handler: see [`handler_fn`].
#[derive(Clone)]
pub struct HandlerFn<F>(F);

impl<F> CallbackHandler for HandlerFn<F>
where
    F: FnMut(&Event, &EventContext) -> HandlerResult + 'static,
{
    fn name(&self) -> &str {
        core::any::type_name::<F>()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        (self.0)(event, cx)
    }
}

impl<F> fmt::Debug for HandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFn")
    }
}

/// A closure for [`async_handler_fn`]. Every closure with its signature and a `Send` future
/// implements it.
///
/// It gives the future of a closure that borrows its arguments a name, so that `Send` can be
/// required of it. It takes `self`, and [`AsyncHandlerFn`] calls a clone: an `async move` closure
/// whose future borrows the captured values implements `FnOnce` only.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an async handler",
    label = "this is not an async closure of `(&Event, &EventContext)` with a `Send` future",
    note = "write `async_handler_fn(async |event, cx| {{ ...; Ok(()) }})`",
    note = "values that live across an `.await` in it must be `Send`"
)]
pub trait AsyncEventFn<'a> {
    /// The future of a call.
    type Future: Future<Output = HandlerResult> + Send + 'a;

    /// Calls the closure.
    fn call(self, event: &'a Event, cx: &'a EventContext) -> Self::Future;
}

impl<'a, F, Fut> AsyncEventFn<'a> for F
where
    F: FnOnce(&'a Event, &'a EventContext) -> Fut,
    Fut: Future<Output = HandlerResult> + Send + 'a,
{
    type Future = Fut;

    fn call(self, event: &'a Event, cx: &'a EventContext) -> Fut {
        self(event, cx)
    }
}

/// Makes an async handler of a closure. It gets every event.
///
/// The closure is an `async` closure, which may borrow its arguments, or a closure that returns a
/// future. It is cloned for every event, so what it captures should be cheap to clone: share state
/// with an `Arc`.
///
/// ```
/// use rappel_core::async_handler_fn;
///
/// let greeter = async_handler_fn(async |event, cx| {
///     println!("{} of {}", event.kind(), cx.name());
///     Ok(())
/// });
/// # let _ = greeter;
/// ```
pub fn async_handler_fn<F>(f: F) -> AsyncHandlerFn<F>
where
    F: AsyncFn(&Event, &EventContext) -> HandlerResult,
    F: for<'a> AsyncEventFn<'a> + Clone + Send + Sync + 'static,
{
    AsyncHandlerFn(f)
}

/// A closure as an async handler: see [`async_handler_fn`].
#[derive(Clone)]
pub struct AsyncHandlerFn<F>(F);

impl<F> AsyncCallbackHandler for AsyncHandlerFn<F>
where
    F: for<'a> AsyncEventFn<'a> + Clone + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        core::any::type_name::<F>()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(self.0.clone().call(event, cx))
    }
}

impl<F> fmt::Debug for AsyncHandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncHandlerFn")
    }
}
