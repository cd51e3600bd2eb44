//! The traits that users implement, and the things that are handlers without it.

mod asynchronous;
mod closure;
mod compose;
mod options;
mod sync;

pub use asynchronous::{AsyncCallbackHandler, HandlerFuture};
pub use closure::{AsyncHandlerFn, HandlerFn, async_handler_fn, handler_fn};
pub use options::{
    Awaited, AwaitedOnly, Background, HandlerOptions, IntoDelivery, IsAwaited, Pipelined, Queued, Timed, TimedBy, Untimed, Waits,
};
pub use sync::CallbackHandler;

pub(crate) use asynchronous::ErasedAsyncHandler;
pub(crate) use options::{Common, Delivery, Mode, Place};
