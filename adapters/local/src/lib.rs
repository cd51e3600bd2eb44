//! [rappel](rappel_core) on executors of one thread, for handlers that are not [`Send`]: callbacks
//! for LLM applications.
//!
//! Such executors are tokio's `LocalSet`, smol's `LocalExecutor`, the `LocalPool` of `futures` and
//! the event loop of a page. A handler there may keep its state in an `Rc<RefCell<_>>`. This crate
//! re-exports all of `rappel-core` and adds
//!
//! - [`LocalCallbackManager`], core's manager for handlers that are not `Send`. It takes every
//!   [`CallbackHandler`], and every [`LocalAsyncCallbackHandler`];
//! - [`LocalAsyncCallbackHandler`], core's async handler trait without `Send`;
//! - [`Local`], the runtime. It is made of a [`LocalSpawner`]: a closure ([`local_spawn_fn`]), or a
//!   type that implements `LocalSpawn` of `futures` ([`FromFuturesLocalSpawn`]).
//!
//! It depends on no executor. For example, on tokio:
//!
//! ```
//! use std::cell::RefCell;
//! use std::rc::Rc;
//!
//! use rappel_local::prelude::*;
//! use tokio::task::LocalSet;
//!
//! struct Page(Rc<RefCell<String>>);
//!
//! impl CallbackHandler for Page {
//!     fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
//!         self.0.borrow_mut().push_str(&token.token);
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), RunError> {
//!     let text = Rc::new(RefCell::new(String::new()));
//!     let page = Page(text.clone());
//!     LocalSet::new()
//!         .run_until(async {
//!             let local = Local::new(local_spawn_fn(|task| {
//!                 tokio::task::spawn_local(task);
//!                 Ok(())
//!             }));
//!             let callbacks = LocalCallbackManager::without_timer(local).with_handler(page);
//!             let start = LlmStart::new("my-model", "Tell me a joke");
//!             let mut run = callbacks.on_llm_start(start).await?;
//!             for token in ["Why", " not", "?"] {
//!                 run.on_llm_new_token(token).await?;
//!             }
//!             run.end("Why not?").await?;
//!             Ok::<_, RunError>(())
//!         })
//!         .await?;
//!     assert_eq!(*text.borrow(), "Why not?");
//!     Ok(())
//! }
//! ```
//!
//! With a [`Timer`], such as that of another runtime, `LocalCallbackManager::new` takes
//! [`local.with_timer(timer)`](Local::with_timer), and handlers can have time-outs.
//!
//! # Features
//! | feature | what it adds | without it |
//! |---|---|---|
//! | `std` (default) | `LocalCallbackManager::new` and `without_timer`, and `rappel-core`'s feature `std` | managers need a clock and a source of random bytes ([`with_sources`](LocalCallbackManager::with_sources)). On `wasm32-unknown-unknown` it must be off; use those of `rappel-wasm` |
//! | `serde` | `Serialize` and `Deserialize` for messages, results and run ids | |
//! | `tracing` | failures of handlers are reported with `tracing::warn!` | they are written to standard error |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapt;
mod asynchronous;
mod closure;
mod local;
mod manager;
mod spawner;
mod thread_bound;

pub use asynchronous::{LocalAsyncCallbackHandler, LocalHandlerFuture};
pub use closure::{LocalAsyncHandlerFn, local_async_handler_fn};
pub use local::{Inbox, Local};
pub use manager::LocalCallbackManager;
pub use rappel_core::*;
pub use spawner::{
    FromFuturesLocalSpawn, LocalBoxFuture, LocalSpawnFn, LocalSpawner, local_spawn_fn,
};
pub use thread_bound::WrongThread;

/// What most programs need, including [`LocalCallbackManager`] and [`Local`].
pub mod prelude {
    pub use crate::{
        Local, LocalAsyncCallbackHandler, LocalCallbackManager, local_async_handler_fn,
        local_spawn_fn,
    };
    pub use rappel_core::prelude::*;
}
