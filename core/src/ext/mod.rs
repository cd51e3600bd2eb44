//! What is built on managers and runs: instrumented futures and streams, chat models, the driver.

mod chat_model;
mod current;
mod driver;
mod instrument;
mod require_last;
mod stream;

pub use chat_model::{CallOptions, ChatModel, ChatModelExt, LlmStream};
pub use current::{InCurrentRun, Inside};
pub use driver::{Driver, Paired};
pub use instrument::{FromRunError, InRun, RunFuture};
pub use require_last::RequireLast;
pub use stream::{CallbackStream, ToLlmChunk, WithCallbacks};
