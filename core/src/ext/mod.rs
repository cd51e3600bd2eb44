//! What is built on managers and runs: instrumented futures and streams, chat models, the driver.

mod chat_model;
mod current;
mod driver;
mod instrument;
mod stream;

pub use chat_model::{CallOptions, ChatModel, ChatModelExt, LlmStream};
pub use current::{InCurrentRun, Inside};
pub use driver::{Driver, Paired};
pub use instrument::{FromRunError, InRun, RunFuture};
pub use stream::{CallbackStream, ToLlmChunk, WithCallbacks};
