//! The current run and manager, in futures and closures.

use alloc::sync::Arc;

use crate::dispatch::{Place, Scope, Scoped, current, enter};
use crate::manager::CallbackManager;
#[cfg(feature = "std")]
use crate::model::run_info::RunInfo;
#[cfg(feature = "std")]
use crate::run::Setup;
use crate::run::{ChainRun, LlmRun, RetrieverRun, Run, ToolRun};

/// What code can be inside: a run, or a manager.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a run nor a manager",
    label = "code cannot be inside this"
)]
pub trait Inside {
    #[doc(hidden)]
    fn place(&self) -> InsidePlace;
}

/// What [`Inside`] is made of.
#[doc(hidden)]
#[allow(missing_debug_implementations, reason = "it has no public use")]
pub struct InsidePlace(pub(crate) Scope);

impl Inside for CallbackManager {
    fn place(&self) -> InsidePlace {
        InsidePlace(Scope { of: self.setup.clone(), node: self.setup.parent.clone() })
    }
}

macro_rules! inside {
    ($($run:ident),+) => {$(
        impl Inside for $run {
            fn place(&self) -> InsidePlace {
                InsidePlace(scope_of(self.run()))
            }
        }
    )+};
}
inside!(LlmRun, ChainRun, ToolRun, RetrieverRun);

pub(super) fn scope_of(run: &Arc<Run>) -> Scope {
    Scope { of: run.clone(), node: Some(run.node.clone()) }
}

pub(super) fn scoped<F>(future: F, scope: &impl Inside) -> Scoped<F> {
    Scoped::new(future, Place::inside(scope.place().0))
}

#[cfg(feature = "std")]
impl CallbackManager {
    /// The manager for what is called here: the manager of the current run's children, or the
    /// manager of the innermost [`in_scope`](crate::InRun::in_scope). Handlers that were called
    /// from there see it too, on any thread. `None` outside of both.
    #[must_use]
    pub fn current() -> Option<Self> {
        let place = current()?;
        let scope = place.scope()?;
        if let Some(run) = scope.of.downcast_ref::<Run>() {
            return Some(Self::child_of(&run.setup, &run.node));
        }
        let setup = scope.of.clone().downcast::<Setup>().ok()?;
        Some(Self { setup })
    }
}

#[cfg(feature = "std")]
impl RunInfo {
    /// The current run: that of the innermost instrumented future, or the parent of the innermost
    /// manager in scope. `None` outside of both.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        Some(current()?.scope()?.node.as_ref()?.info.clone())
    }
}

/// Carries the current run and manager over to another thread, in a closure.
///
/// ```
/// use rappel_core::{CallbackManager, InCurrentRun};
///
/// let job = (|| CallbackManager::current().is_some()).in_current_run();
/// let found = std::thread::spawn(job).join();
/// # assert_eq!(found.ok(), Some(false));
/// ```
pub trait InCurrentRun<T>: FnOnce() -> T + Sized {
    /// Runs the closure with the run and the manager that are current here.
    fn in_current_run(self) -> impl FnOnce() -> T {
        let place = current();
        move || {
            let _place = enter(place);
            self()
        }
    }
}

impl<T, F: FnOnce() -> T> InCurrentRun<T> for F {}
