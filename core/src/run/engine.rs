//! What all managers of one `new` share: the runtime, the open runs, the registered handlers.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::error::Error;
use core::future::Future;
use core::task::{Context, Poll};
use core::time::Duration;

use slab::Slab;

use super::Run;
use crate::dispatch::{Lane, Registered, Target, Workers};
use crate::handler::HandlerId;
use crate::model::error::EmitError;
use crate::model::run_info::RunId;
use crate::runtime::{Clock, Entropy, Runtime};
use crate::util::{Mutex, WaitGroup, WaitGuard, WakerKey, WakerSet, catch_unwind, wake_all};

/// Work of a shutdown. It is called with the time that it has.
pub(crate) type OnShutdown =
    dyn Fn(Duration) -> Result<(), Box<dyn Error + Send + Sync>> + Send + Sync;

pub(crate) struct Engine {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pub(crate) workers: Arc<Workers<Lane>>,
    registry: Mutex<Registry>,
    /// Whether there is a runtime. That of a default manager accepts no work.
    pub(crate) real: bool,
}

#[derive(Default)]
struct Registry {
    phase: Phase,
    runs: Slab<Weak<Run>>,
    /// The ids of open runs that callers have chosen, with the keys of the runs.
    chosen_ids: BTreeMap<RunId, usize>,
    /// In the order of registration.
    handlers: BTreeMap<HandlerId, Weak<Registered>>,
    /// So many of them lived when the others were last removed.
    handlers_known: usize,
    /// Wait until no run is open.
    waiting: WakerSet,
    closed_runs: usize,
    shutdown_works: Vec<Arc<OnShutdown>>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Phase {
    #[default]
    Running,
    /// Runs start under open ones only.
    Draining,
    ShutDown,
}

impl Engine {
    pub(crate) fn new(
        runtime: Arc<dyn Runtime>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        real: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            workers: Workers::new(runtime.clone()),
            runtime,
            clock,
            entropy,
            registry: Mutex::new(Registry::default()),
            real,
        })
    }

    /// Spawns a task. If the runtime is gone or panics, the task is dropped, and what it carries
    /// reports what is lost.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _ = catch_unwind(|| self.runtime.spawn_boxed(Box::pin(task)));
    }

    pub(crate) fn new_run_id(&self) -> RunId {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        RunId::v7(self.clock.now().unwrap_or_default(), random)
    }

    /// A flush and a shutdown concern these handlers from here on, too. They may be registered with
    /// another engine.
    pub(crate) fn register_handlers<'a>(
        &self,
        handlers: impl Iterator<Item = &'a Arc<Registered>>,
    ) {
        self.registry.with(|registry| {
            let known = &mut registry.handlers;
            known.extend(handlers.map(|handler| (handler.meta.id, Arc::downgrade(handler))));
            if known.len() > 2 * registry.handlers_known {
                known.retain(|_, handler| handler.strong_count() > 0);
                registry.handlers_known = known.len();
            }
        });
    }

    /// The handlers that are registered with a manager or an open run.
    pub(crate) fn handlers(&self) -> Vec<Arc<Registered>> {
        self.registry
            .with(|registry| registry.handlers.values().filter_map(Weak::upgrade).collect())
    }

    pub(crate) fn open_runs(&self) -> Vec<Arc<Run>> {
        self.registry
            .with(|registry| registry.runs.iter().filter_map(|(_, run)| run.upgrade()).collect())
    }

    /// Registers a run as open. `nested` says that it starts under an open run. `chosen_id` is its
    /// id if the caller has chosen that. Returns the run's key.
    pub(super) fn register_run(
        &self,
        run: &Arc<Run>,
        nested: bool,
        chosen_id: Option<RunId>,
    ) -> Result<u32, EmitError> {
        self.registry.with(|registry| {
            let latest = if nested { Phase::Draining } else { Phase::Running };
            if registry.phase > latest {
                return Err(EmitError::ShutDown);
            }
            if chosen_id.is_some_and(|id| registry.chosen_ids.contains_key(&id)) {
                return Err(EmitError::DuplicateRunId);
            }
            let key = registry.runs.insert(Arc::downgrade(run));
            if let Some(id) = chosen_id {
                registry.chosen_ids.insert(id, key);
            }
            // More runs than that are not open at a time.
            Ok(key as u32)
        })
    }

    /// The open run whose id a caller has chosen.
    #[cfg(feature = "serde")]
    pub(crate) fn chosen_run(&self, id: RunId) -> Option<Arc<Run>> {
        self.registry.with(|registry| {
            let key = registry.chosen_ids.get(&id)?;
            registry.runs.get(*key).and_then(Weak::upgrade)
        })
    }

    pub(super) fn unregister_run(&self, entry: u32, id: RunId) {
        let (_run, waiting) = self.registry.with(|registry| {
            let run = registry.runs.try_remove(entry as usize);
            if registry.chosen_ids.get(&id) == Some(&(entry as usize)) {
                registry.chosen_ids.remove(&id);
            }
            (run, registry.runs.is_empty().then(|| registry.waiting.take()))
        });
        wake_all(waiting.into_iter().flatten());
    }

    /// From here on, runs start under open ones only.
    pub(crate) fn drain(&self) {
        self.registry.with(|registry| registry.phase = registry.phase.max(Phase::Draining));
    }

    /// Ready when no run is open.
    pub(crate) fn poll_no_runs(&self, key: &mut WakerKey, cx: &mut Context<'_>) -> Poll<()> {
        // The waker is user code: it is cloned and dropped outside the lock.
        let waker = cx.waker().clone();
        let (poll, _replaced) = self.registry.with(|registry| match registry.runs.is_empty() {
            true => (Poll::Ready(()), Some(waker)),
            false => (Poll::Pending, registry.waiting.register(key, waker)),
        });
        poll
    }

    /// From here on, no run starts.
    pub(crate) fn shut_down(&self) {
        self.registry.with(|registry| registry.phase = Phase::ShutDown);
    }

    /// Fails if this thread must not wait for the runtime.
    #[cfg(feature = "std")]
    pub(crate) fn may_wait(&self) -> Result<(), EmitError> {
        match crate::dispatch::may_wait_here() && self.runtime.may_block() {
            true => Ok(()),
            false => Err(EmitError::WouldBlock),
        }
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.registry.with(|registry| registry.phase == Phase::ShutDown)
    }

    pub(crate) fn on_shutdown(&self, work: Arc<OnShutdown>) {
        self.registry.with(|registry| registry.shutdown_works.push(work));
    }

    pub(crate) fn shutdown_works(&self) -> Vec<Arc<OnShutdown>> {
        self.registry.with(|registry| registry.shutdown_works.clone())
    }

    pub(crate) fn count_closed(&self, runs: usize) -> usize {
        self.registry.with(|registry| {
            registry.closed_runs += runs;
            registry.closed_runs
        })
    }

    /// A group that is empty when all that was emitted before is handled.
    pub(crate) fn flush(&self) -> Arc<WaitGroup> {
        let group = Arc::new(WaitGroup::new());
        // Runs first, then lanes: an event that leaves a run in between is in a lane then. A run
        // whose event goes on passes its guard to the lanes that it has queued the event in.
        for run in self.open_runs() {
            run.flush(WaitGuard::new(&group));
        }
        for handler in self.handlers() {
            match &handler.target {
                Target::Lane(lane) => lane.flush(WaitGuard::new(&group)),
                Target::Inline(slot) => slot.flush(WaitGuard::new(&group)),
                Target::Async { .. } | Target::Gone => {}
            }
        }
        group
    }

    /// A group that is empty when nothing waits in any lane of this engine, also if a call has timed
    /// out and has not returned. A lane of another engine may never be empty.
    pub(crate) fn drained(&self) -> Arc<WaitGroup> {
        let group = Arc::new(WaitGroup::new());
        for handler in self.handlers() {
            match &handler.target {
                Target::Lane(lane) if lane.is_on(&self.runtime) => {
                    lane.drain(WaitGuard::new(&group));
                }
                _ => {}
            }
        }
        group
    }
}
