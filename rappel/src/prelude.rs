//! The names that most programs need: `use rappel::prelude::*;`.
//!
//! They are those of `rappel_core::prelude`, the runtimes of the enabled features, `ChatOpenAi`, and
//! the trait `With` that registers a handler of [`handlers`](crate::handlers) in one line.

pub use rappel_core::prelude::*;

#[cfg(feature = "async-std")]
#[doc(no_inline)]
pub use rappel_async_std::AsyncStd;
#[cfg(feature = "handlers")]
#[doc(no_inline)]
pub use rappel_handlers::With;
#[cfg(feature = "local")]
#[doc(no_inline)]
pub use rappel_local::prelude::{
    Local, LocalAsyncCallbackHandler, LocalCallbackManager, local_async_handler_fn, local_spawn_fn,
};
#[cfg(feature = "openai")]
#[doc(no_inline)]
pub use rappel_openai::ChatOpenAi;
#[cfg(feature = "smol")]
#[doc(no_inline)]
pub use rappel_smol::Smol;
#[cfg(feature = "threads")]
#[doc(no_inline)]
pub use rappel_threads::Threads;
#[cfg(feature = "tokio")]
#[doc(no_inline)]
pub use rappel_tokio::Tokio;
#[cfg(feature = "wasm")]
#[doc(no_inline)]
pub use rappel_wasm::Wasm;
