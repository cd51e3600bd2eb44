#![doc = include_str!("../README.md")]
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
