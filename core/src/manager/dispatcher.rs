//! The dispatcher: a runtime with what all managers on it share.

use alloc::sync::Arc;
use core::fmt;

use super::CallbackManager;
use crate::run::{Engine, Setup};
use crate::runtime::{BlockingExecutor, Clock, Entropy, Spawner, TimedBy, Timer};
#[cfg(feature = "std")]
use crate::runtime::{SpawnError, SystemClock, SystemEntropy, blocking_fn, spawn_fn};

/// Delivers events on a runtime. All managers that it makes share its open runs, and its flush and
/// shutdown.
///
/// Most programs call [`CallbackManager::new`], which makes a dispatcher and erases its type. Use
/// this one to reach the runtime by its type.
///
/// ```
/// # use rappel_core::{Dispatcher, BlockingExecutor, Spawner, Timer};
/// # fn example(runtime: impl Spawner + BlockingExecutor + Timer) {
/// let dispatcher = Dispatcher::new(runtime);
/// let callbacks = dispatcher.manager();
/// let runtime = dispatcher.runtime();
/// # let _ = (callbacks, runtime);
/// # }
/// ```
pub struct Dispatcher<R: Spawner + BlockingExecutor> {
    runtime: Arc<R>,
    engine: Arc<Engine>,
}

impl<R: Spawner + BlockingExecutor> Dispatcher<R> {
    /// A dispatcher with the system's clock and randomness.
    #[cfg(feature = "std")]
    pub fn new(runtime: R) -> Self
    where
        R: Timer,
    {
        Self::with_sources(runtime, SystemClock, SystemEntropy)
    }

    /// A dispatcher without a timer: handlers cannot have time-outs, and a shutdown is an error.
    #[cfg(feature = "std")]
    pub fn without_timer(runtime: R) -> Self {
        Self::without_timer_with_sources(runtime, SystemClock, SystemEntropy)
    }

    /// A dispatcher with its own clock and source of random bytes: for targets without `std`, and
    /// for tests.
    pub fn with_sources(runtime: R, clock: impl Clock, entropy: impl Entropy) -> Self
    where
        R: Timer,
    {
        let runtime = Arc::new(runtime);
        Self::build(runtime.clone(), Some(runtime), (clock, entropy), true)
    }

    /// A dispatcher without a timer, with its own clock and source of random bytes.
    pub fn without_timer_with_sources(
        runtime: R,
        clock: impl Clock,
        entropy: impl Entropy,
    ) -> Self {
        Self::build(Arc::new(runtime), None, (clock, entropy), true)
    }

    fn build(
        runtime: Arc<R>,
        timer: Option<Arc<dyn Timer>>,
        (clock, entropy): (impl Clock, impl Entropy),
        real: bool,
    ) -> Self {
        let erased = Arc::new(TimedBy { runtime: runtime.clone(), timer });
        let engine = Engine::new(erased, Arc::new(clock), Arc::new(entropy), real);
        Self { runtime, engine }
    }

    /// A manager without handlers.
    #[must_use]
    pub fn manager(&self) -> CallbackManager {
        CallbackManager::of(Setup::new(self.engine.clone()))
    }

    /// The runtime on which handlers are called.
    #[must_use]
    pub fn runtime(&self) -> &R {
        &self.runtime
    }
}

/// A manager without handlers and without a runtime: what a component has if its user sets no
/// callbacks. Handlers that are added to it cannot be called, and are reported.
#[cfg(feature = "std")]
impl Default for CallbackManager {
    fn default() -> Self {
        fn refuse<T>(_: T) -> Result<(), SpawnError> {
            Err(SpawnError::shutdown())
        }
        let runtime = Arc::new((spawn_fn(refuse), blocking_fn(refuse)));
        Dispatcher::build(runtime, None, (SystemClock, SystemEntropy), false).manager()
    }
}

impl CallbackManager {
    /// A manager with its own clock and source of random bytes: for targets without `std`, and for
    /// tests.
    pub fn with_sources(
        runtime: impl Spawner + BlockingExecutor + Timer,
        clock: impl Clock,
        entropy: impl Entropy,
    ) -> Self {
        Dispatcher::with_sources(runtime, clock, entropy).manager()
    }

    /// A manager on a runtime without a timer, with its own clock and source of random bytes.
    pub fn without_timer_with_sources(
        runtime: impl Spawner + BlockingExecutor,
        clock: impl Clock,
        entropy: impl Entropy,
    ) -> Self {
        Dispatcher::without_timer_with_sources(runtime, clock, entropy).manager()
    }
}

impl<R: Spawner + BlockingExecutor> Clone for Dispatcher<R> {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime.clone(), engine: self.engine.clone() }
    }
}

impl<R: Spawner + BlockingExecutor> fmt::Debug for Dispatcher<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dispatcher")
    }
}
