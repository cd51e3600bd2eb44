//! What rappel needs from a runtime.
//!
//! Core knows no runtime. It defines these traits, and an adapter crate implements them for a value
//! that *holds a handle* to its runtime and does not look up the ambient runtime. A
//! [`CallbackManager`](crate::CallbackManager) needs a [`Spawner`] and a [`BlockingExecutor`], and a
//! [`Timer`] for time-outs and shutdown. [`Clock`] and [`Entropy`] have defaults with `std`.
//!
//! Spawning returns no handle: when a handle is dropped, tokio and async-std detach the task, and
//! smol cancels it. Results, cancellation and panics travel through channels of core, so that all
//! runtimes behave the same.

mod adapt;
mod erased;
#[cfg(feature = "std")]
pub(crate) mod here;
mod traits;

pub use adapt::{BlockingFn, FromFuturesSpawn, SpawnFn, blocking_fn, spawn_fn};
pub(crate) use erased::{Runtime, TimedBy};
pub use futures_core::future::BoxFuture;
pub use traits::{BlockingExecutor, BoxJob, Clock, Entropy, SpawnError, Spawner, Timer};
#[cfg(feature = "std")]
pub use traits::{SystemClock, SystemEntropy};
