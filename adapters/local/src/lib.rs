//! [rappel](rappel_core) on executors of one thread, for handlers that are not [`Send`]: callbacks for LLM applications.
//!
//! Tokio's `LocalSet`, smol's `LocalExecutor`, futures' `LocalPool`, the event loop of a page: code there likes to keep an `Rc<RefCell<…>>`. This crate
//! re-exports all of `rappel-core`, and adds
//!
//! - [`LocalCallbackHandler`] and [`LocalAsyncCallbackHandler`], the handler traits without `Send`, with the same methods;
//! - [`LocalCallbackManager`], which they are registered with; beside that it is core's manager, and its runs are core's runs;
//! - [`Local`], the runtime that it is on, made of a [`LocalSpawner`]: a closure ([`local_spawn_fn`]), or whatever implements futures' `LocalSpawn`
//!   ([`FromFuturesLocalSpawn`]).
//!
//! It depends on no executor. Here is tokio's:
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
//! impl LocalCallbackHandler for Page {
//!     fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
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
//!             let callbacks = LocalCallbackManager::new(local).with_handler(page);
//!             let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
//!             for token in ["Why", " not", "?"] {
//!                 run.on_llm_new_token(token).await?;
//!             }
//!             run.end(LlmResult::from_text("Why not?")).await?;
//!             Ok::<_, RunError>(())
//!         })
//!         .await?;
//!     assert_eq!(*text.borrow(), "Why not?");
//!     Ok(())
//! }
//! ```
//!
//! # Features
//! | feature | what it adds | what is lost without it |
//! |---|---|---|
//! | `std` (default) | `LocalCallbackManager::new`, and `rappel-core`'s feature `std` | the system's clock and randomness: [`with_sources`](LocalCallbackManager::with_sources) wants others. On `wasm32-unknown-unknown` those of `rappel-wasm`; there it is to be off |
//! | `serde` | `Serialize`, `Deserialize` for messages, results and run ids | those impls |
//! | `tracing` | failures of handlers go to `tracing::warn!` | they go to standard error |

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapt;
mod closure;
mod handler;
mod home;
mod local;
mod manager;
mod spawner;

pub use closure::{LocalAsyncHandlerFn, LocalHandlerFn, local_async_handler_fn, local_handler_fn};
pub use handler::{LocalAsyncCallbackHandler, LocalCallbackHandler, LocalHandlerFuture};
pub use home::ForeignThread;
pub use local::{Inbox, Local};
pub use manager::LocalCallbackManager;
pub use rappel_core::*;
pub use spawner::{FromFuturesLocalSpawn, LocalBoxFuture, LocalSpawnFn, LocalSpawner, local_spawn_fn};

/// What most programs need, [`LocalCallbackManager`] and [`Local`] included.
pub mod prelude {
    pub use crate::{
        Local, LocalAsyncCallbackHandler, LocalCallbackHandler, LocalCallbackManager, local_async_handler_fn, local_handler_fn,
        local_spawn_fn,
    };
    pub use rappel_core::prelude::*;
}
