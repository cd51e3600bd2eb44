//! Closures as async handlers, without `Send`. Sync closures use `handler_fn` of core.

use std::fmt;

use rappel_core::{Event, EventContext, HandlerResult};

use crate::asynchronous::{LocalAsyncCallbackHandler, LocalHandlerFuture};

/// Makes an async handler of a closure, which gets every event.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// use rappel_local::local_async_handler_fn;
///
/// let log = Rc::new(RefCell::new(Vec::new()));
/// let writer = local_async_handler_fn(async move |event, cx| {
///     log.borrow_mut().push(format!("{} of {}", event.kind(), cx.name()));
///     Ok(())
/// });
/// # let _ = writer;
/// ```
pub fn local_async_handler_fn<F>(f: F) -> LocalAsyncHandlerFn<F>
where
    F: AsyncFn(&Event, &EventContext) -> HandlerResult + 'static,
{
    LocalAsyncHandlerFn(f)
}

/// The handler that [`local_async_handler_fn`] returns.
#[derive(Clone)]
pub struct LocalAsyncHandlerFn<F>(F);

impl<F> LocalAsyncCallbackHandler for LocalAsyncHandlerFn<F>
where
    F: AsyncFn(&Event, &EventContext) -> HandlerResult + 'static,
{
    fn name(&self) -> &str {
        std::any::type_name::<F>()
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> LocalHandlerFuture<'a> {
        LocalHandlerFuture::new((self.0)(event, cx))
    }
}

impl<F> fmt::Debug for LocalAsyncHandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalAsyncHandlerFn")
    }
}
