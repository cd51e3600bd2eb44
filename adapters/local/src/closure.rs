//! Closures as handlers, without `Send`.

use std::fmt;
use std::future::Future;

use rappel_core::{Event, HandlerResult, RunInfo};

use crate::handler::{LocalAsyncCallbackHandler, LocalCallbackHandler, LocalHandlerFuture};

/// A sync handler that is a closure: it gets every event.
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
///
/// use rappel_local::local_handler_fn;
///
/// let seen = Rc::new(Cell::new(0));
/// let count = seen.clone();
/// let counter = local_handler_fn(move |_event, _run| {
///     count.set(count.get() + 1);
///     Ok(())
/// });
/// # let _ = counter;
/// ```
pub fn local_handler_fn<F>(f: F) -> LocalHandlerFn<F>
where
    F: FnMut(&Event, &RunInfo) -> HandlerResult + 'static,
{
    LocalHandlerFn(f)
}

/// The handler that [`local_handler_fn`] makes of a closure.
#[derive(Clone)]
pub struct LocalHandlerFn<F>(F);

impl<F> LocalCallbackHandler for LocalHandlerFn<F>
where
    F: FnMut(&Event, &RunInfo) -> HandlerResult + 'static,
{
    fn name(&self) -> &str {
        std::any::type_name::<F>()
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        (self.0)(event, run)
    }
}

impl<F> fmt::Debug for LocalHandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalHandlerFn")
    }
}

/// An async handler that is a closure: it gets every event, and takes from it what its future needs.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
///
/// use rappel_local::local_async_handler_fn;
///
/// let log = Rc::new(RefCell::new(Vec::new()));
/// let writer = local_async_handler_fn(move |event, run| {
///     let (log, line) = (log.clone(), format!("{} of {}", event.kind(), run.name()));
///     async move {
///         log.borrow_mut().push(line);
///         Ok(())
///     }
/// });
/// # let _ = writer;
/// ```
pub fn local_async_handler_fn<F, Fut>(f: F) -> LocalAsyncHandlerFn<F>
where
    F: Fn(&Event, &RunInfo) -> Fut + 'static,
    Fut: Future<Output = HandlerResult> + 'static,
{
    LocalAsyncHandlerFn(f)
}

/// The handler that [`local_async_handler_fn`] makes of a closure.
#[derive(Clone)]
pub struct LocalAsyncHandlerFn<F>(F);

impl<F, Fut> LocalAsyncCallbackHandler for LocalAsyncHandlerFn<F>
where
    F: Fn(&Event, &RunInfo) -> Fut + 'static,
    Fut: Future<Output = HandlerResult> + 'static,
{
    fn name(&self) -> &str {
        std::any::type_name::<F>()
    }

    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> LocalHandlerFuture<'a> {
        LocalHandlerFuture::new((self.0)(event, run))
    }
}

impl<F> fmt::Debug for LocalAsyncHandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalAsyncHandlerFn")
    }
}
