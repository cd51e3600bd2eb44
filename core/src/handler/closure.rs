//! Closures as handlers.
//!
//! They are wrapped, not handlers by themselves: a blanket impl for `FnMut` would forbid the one for `Arc`.

use core::fmt;
use core::future::Future;

use super::{AsyncCallbackHandler, CallbackHandler, HandlerFuture};
use crate::error::HandlerResult;
use crate::event::Event;
use crate::run_info::RunInfo;

/// A sync handler that is a closure: it gets every event.
///
/// ```
/// use rappel_core::{Event, RunInfo, handler_fn};
///
/// let mut tokens = 0;
/// let counter = handler_fn(move |event: &Event, _run: &RunInfo| {
///     if let Event::LlmNewToken(_) = event {
///         tokens += 1;
///         println!("{tokens} tokens");
///     }
///     Ok(())
/// });
/// # let _ = counter;
/// ```
pub fn handler_fn<F>(f: F) -> HandlerFn<F>
where
    F: FnMut(&Event, &RunInfo) -> HandlerResult + Send + 'static,
{
    HandlerFn(f)
}

/// The handler that [`handler_fn`] makes of a closure.
#[derive(Clone)]
pub struct HandlerFn<F>(F);

impl<F> CallbackHandler for HandlerFn<F>
where
    F: FnMut(&Event, &RunInfo) -> HandlerResult + Send + 'static,
{
    fn name(&self) -> &str {
        core::any::type_name::<F>()
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        (self.0)(event, run)
    }
}

impl<F> fmt::Debug for HandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFn")
    }
}

/// An async handler that is a closure: it gets every event, and takes from it what its future needs.
///
/// ```
/// use rappel_core::{Event, RunInfo, async_handler_fn};
///
/// let greeter = async_handler_fn(|event: &Event, run: &RunInfo| {
///     let line = format!("{} of {}", event.kind(), run.name());
///     async move {
///         println!("{line}");
///         Ok(())
///     }
/// });
/// # let _ = greeter;
/// ```
pub fn async_handler_fn<F, Fut>(f: F) -> AsyncHandlerFn<F>
where
    F: Fn(&Event, &RunInfo) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    AsyncHandlerFn(f)
}

/// The handler that [`async_handler_fn`] makes of a closure.
#[derive(Clone)]
pub struct AsyncHandlerFn<F>(F);

impl<F, Fut> AsyncCallbackHandler for AsyncHandlerFn<F>
where
    F: Fn(&Event, &RunInfo) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = HandlerResult> + Send + 'static,
{
    fn name(&self) -> &str {
        core::any::type_name::<F>()
    }

    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        HandlerFuture::new((self.0)(event, run))
    }
}

impl<F> fmt::Debug for AsyncHandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncHandlerFn")
    }
}
