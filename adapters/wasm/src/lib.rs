//! [rappel](rappel_core) in WebAssembly: callbacks for LLM applications, in browsers and node.
//!
//! This crate re-exports all of `rappel-core`, and adds [`Wasm`], the runtime to give to a [`CallbackManager`]; [`Wasm::callbacks`] does that.
//!
//! ```no_run
//! use rappel_wasm::prelude::*;
//!
//! struct Printer;
//!
//! impl CallbackHandler for Printer {
//!     fn on_llm_new_token(&mut self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
//!         print!("{}", token.token);
//!         Ok(())
//!     }
//! }
//!
//! async fn tell() -> Result<(), RunError> {
//!     let callbacks = Wasm::callbacks().with_handler(Printer);
//!
//!     let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
//!     for token in ["Why", " not", "?"] {
//!         run.on_llm_new_token(token).await?;
//!     }
//!     run.end(LlmResult::from_text("Why not?")).await?;
//!     Ok(())
//! }
//! ```
//!
//! It is for `wasm32-unknown-unknown`. There `rappel-core` is to be without its feature `std`, as it is here. It compiles elsewhere, and
//! panics when it is used there.

// `critical-section` is used by core; this crate says how.
use critical_section as _;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use wasm_bindgen_futures::spawn_local;
use web_time::{Instant, SystemTime};

use std::time::Duration;

pub use rappel_core::*;

use rappel_core::runtime::{BoxFuture, BoxJob};

/// What most programs need, [`Wasm`] included.
pub mod prelude {
    pub use crate::Wasm;
    pub use rappel_core::prelude::*;
}

/// The event loop of the page, the worker or the node process that this module is in.
///
/// Tasks are spawned on it. There is no other thread: a blocking job has a turn of the loop to itself, and nothing else goes on while it runs.
/// Of a module that is shared by several workers, each has the loop that its code is called on: a task stays where it was spawned.
#[derive(Debug, Clone, Copy)]
pub struct Wasm {
    /// What its clock counts from.
    origin: Instant,
}

impl Wasm {
    /// The event loop that this is called on.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// A manager without handlers, with JavaScript's clock and random numbers.
    #[must_use]
    pub fn callbacks() -> CallbackManager<Self> {
        CallbackManager::with_sources(Self::new(), JavaScript, JavaScript)
    }
}

impl Default for Wasm {
    fn default() -> Self {
        Self::new()
    }
}

impl Spawner for Wasm {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        spawn_local(task);
        Ok(())
    }
}

impl BlockingExecutor for Wasm {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        spawn_local(async { job() });
        Ok(())
    }

    /// A job that waits would keep the loop from what it waits for.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

/// What `setTimeout` takes: beyond that it would call at once.
const LONGEST: u32 = i32::MAX as u32;

impl Timer for Wasm {
    /// The timer is the loop's, and what it belongs to cannot be sent: a task of its own has it, which ends when this future is dropped.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (mut done, slept) = oneshot::channel::<()>();
        spawn_local(async move {
            // Up, so that it is never early.
            let mut left = duration.as_nanos().div_ceil(1_000_000);
            while left > 0 && !done.is_canceled() {
                let next = u32::try_from(left).unwrap_or(LONGEST).min(LONGEST);
                if let Either::Left(_) = select(done.cancellation(), TimeoutFuture::new(next)).await {
                    return;
                }
                left -= u128::from(next);
            }
            let _ = done.send(());
        });
        Box::pin(async {
            let _ = slept.await;
        })
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// JavaScript's clock and random numbers: `std` has neither on this target.
#[derive(Debug, Clone, Copy, Default)]
pub struct JavaScript;

impl Clock for JavaScript {
    fn now(&self) -> Option<Duration> {
        SystemTime::UNIX_EPOCH.elapsed().ok()
    }
}

impl Entropy for JavaScript {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            // 32 bits of the 52 that it has; the cast goes below 2^32.
            let word = ((js_sys::Math::random() * 4_294_967_296.0) as u32).to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
