//! [rappel](rappel_core) on plain threads: callbacks for LLM applications that have no async
//! runtime.
//!
//! This crate re-exports all of `rappel-core`, and adds [`Threads`], the runtime to give to a
//! [`CallbackManager`].
//!
//! ```
//! use rappel_threads::prelude::*;
//!
//! struct Printer;
//!
//! impl CallbackHandler for Printer {
//!     fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
//!         print!("{}", token.token);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), RunError> {
//!     let callbacks = CallbackManager::new(Threads::new()).with_handler(Printer);
//!
//!     let mut run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).wait()?;
//!     for token in ["Why", " not", "?"] {
//!         run.on_llm_new_token(token).wait()?;
//!     }
//!     run.end("Why not?").wait()?;
//!     Ok(())
//! }
//! ```

mod block_on;
mod catch_unwind;
mod current;
mod pool;
mod sync;
mod task;
#[cfg(test)]
mod tests;
mod threads;
mod timer;

pub use rappel_core::*;
pub use threads::Threads;

/// What most programs need, [`Threads`] included.
pub mod prelude {
    pub use crate::Threads;
    pub use rappel_core::prelude::*;
}
