#![doc = include_str!("../README.md")]

use std::time::Duration;

// Core uses `critical-section`. This crate's dependency on it has the implementation.
use critical_section as _;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use gloo_timers::future::TimeoutFuture;
use rappel_core::runtime::{BoxFuture, BoxJob};
use wasm_bindgen_futures::spawn_local;
use web_time::{Instant, SystemTime};

pub use rappel_core::*;

/// What most programs need, including [`Wasm`].
pub mod prelude {
    pub use crate::Wasm;
    pub use rappel_core::prelude::*;
}

/// The event loop of this page, worker or node process: spawns tasks on it.
///
/// There is no other thread. A blocking job runs in a task of its own, and nothing else runs
/// meanwhile. If several workers share a module, each has its own event loop: a task stays on the
/// loop of the worker that spawned it.
#[derive(Debug, Clone, Copy)]
pub struct Wasm {
    /// The start of this timer's time.
    origin: Instant,
}

impl Wasm {
    /// The event loop that this code runs on.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// A manager without handlers, with the clock and the random numbers of JavaScript.
    #[must_use]
    pub fn callbacks() -> CallbackManager {
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

    fn may_block(&self) -> bool {
        false
    }
}

impl BlockingExecutor for Wasm {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        spawn_local(async { job() });
        Ok(())
    }

    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

/// The longest delay of `setTimeout` in milliseconds. It calls at once if the delay is longer.
const LONGEST: u32 = i32::MAX as u32;

impl Timer for Wasm {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (mut done, slept) = oneshot::channel::<()>();
        // JavaScript's timer is not `Send`, so a task of its own holds it. The task ends when the
        // returned future is dropped.
        spawn_local(async move {
            // Rounded up, so that it is never early.
            let mut left = duration.as_nanos().div_ceil(1_000_000);
            while left > 0 && !done.is_canceled() {
                let next = u32::try_from(left).unwrap_or(LONGEST).min(LONGEST);
                let timeout = TimeoutFuture::new(next);
                if let Either::Left(_) = select(done.cancellation(), timeout).await {
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

/// The clock and the random numbers of JavaScript: `std` has neither on this target.
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
            // `random` has 52 bits. The product is below 2^32, so the cast loses only its fraction.
            let word = ((js_sys::Math::random() * 4_294_967_296.0) as u32).to_ne_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
