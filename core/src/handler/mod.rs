//! The traits that handlers implement, the types that are handlers, and their options.

mod asynchronous;
mod closure;
mod compose;
mod erased;
mod options;
mod stats;
mod sync;

pub use asynchronous::{AsyncCallbackHandler, HandlerFuture};
pub use closure::{AsyncEventFn, AsyncHandlerFn, HandlerFn, async_handler_fn, handler_fn};
pub use erased::DynAsyncHandler;
pub(crate) use erased::{ErasedAsyncHandler, FirstAnswer, FirstPoll};
pub(crate) use options::Mode;
pub use options::{Awaited, Background, Delivery, HandlerOptions, Overflow, Pipelined};
pub use stats::{HandlerId, HandlerStats, ShutdownReport};
pub use sync::{BoxHandler, CallbackHandler, SendHandler};
