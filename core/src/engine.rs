//! What all managers that came of one share: what they run on, and which of their runs are open.

use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll};

use slab::Slab;

use crate::contain::contained;
use crate::error::EmitError;
use crate::lane::Workers;
use crate::ledger::{Flush, Ledger};
use crate::registration::Registration;
use crate::run_info::RunId;
use crate::runtime::{Clock, Entropy, Runtime};
use crate::scope::{RunCore, has_changed};
use crate::sync::{AtomicUsize, Lock, Ordering};
use crate::waiters::{Waiter, Waiters, wake};

pub(crate) struct Engine {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) workers: Arc<Workers<Registration>>,
    register: Arc<Register>,
    /// Held while a start is brought to all handlers that take a number of runs only.
    pub(crate) admission: Lock<()>,
    /// Whether there is a runtime: that of a no-op manager takes no work.
    pub(crate) real: bool,
}

/// Who is registered, and which runs are open.
struct Register {
    /// `phase`'s, to be asked for every event.
    shut_down: AtomicUsize,
    entries: Lock<Entries>,
}

struct Entries {
    phase: Phase,
    /// In which order runs started, which their keys do not say.
    started: u64,
    runs: Slab<(u64, Weak<RunCore>)>,
    handlers: Vec<Weak<Registration>>,
    /// Those who wait until no run is open.
    waiting: Waiters,
    closed: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Runs start inside open ones only.
    Draining,
    ShutDown,
}

impl Engine {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, real: bool) -> Arc<Self> {
        let entries = Entries {
            phase: Phase::Running,
            started: 0,
            runs: Slab::new(),
            handlers: Vec::new(),
            waiting: Waiters::default(),
            closed: 0,
        };
        Arc::new(Self {
            workers: Workers::new(runtime.clone()),
            runtime,
            clock,
            entropy,
            ledger: Arc::new(Ledger::new()),
            admission: Lock::new(()),
            register: Arc::new(Register {
                shut_down: AtomicUsize::new(0),
                entries: Lock::new(entries),
            }),
            real,
        })
    }

    /// Spawns a task. Where the runtime is gone, or panics, the task is dropped: what it carries reports what is lost.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let _ = contained(|| self.runtime.spawn_boxed(Box::pin(task)));
    }

    pub(crate) fn new_run_id(&self) -> RunId {
        let mut random = [0; 10];
        self.entropy.fill(&mut random);
        RunId::v7(self.clock.now().unwrap_or_default(), random)
    }

    pub(crate) fn register(&self, handler: &Arc<Registration>) {
        self.register.entries.with(|entries| {
            if entries.handlers.len() == entries.handlers.capacity() {
                entries.handlers.retain(|handler| handler.strong_count() > 0);
            }
            entries.handlers.push(Arc::downgrade(handler));
        });
    }

    /// The handlers that are registered with any manager, or with a run.
    pub(crate) fn handlers(&self) -> Vec<Arc<Registration>> {
        self.register
            .entries
            .with(|entries| entries.handlers.iter().filter_map(Weak::upgrade).collect())
    }

    #[inline]
    pub(crate) fn is_shut_down(&self) -> bool {
        self.register.shut_down.load(Ordering::Acquire) != 0
    }

    /// Waits until all that was emitted before it is handled.
    pub(crate) fn flush(&self) -> Flush {
        for run in self.open_runs() {
            run.book_in_flight();
        }
        self.ledger.flush()
    }

    /// The runs that are open.
    fn open_runs(&self) -> Vec<Arc<RunCore>> {
        self.register
            .entries
            .with(|entries| entries.runs.iter().filter_map(|(_, (_, run))| run.upgrade()).collect())
    }

    /// Counts a run as open, which starts inside an open one or not.
    pub(crate) fn open_run(&self, run: &Arc<RunCore>, inside: bool) -> Result<OpenRun, EmitError> {
        self.register.entries.with(|entries| {
            let most = if inside { Phase::Draining } else { Phase::Running };
            if entries.phase > most {
                return Err(EmitError::ShutDown);
            }
            entries.started += 1;
            let key = entries.runs.insert((entries.started, Arc::downgrade(run)));
            Ok(OpenRun {
                register: self.register.clone(),
                key,
            })
        })
    }

    /// From here on, runs start inside open ones only.
    pub(crate) fn drain(&self) {
        self.register
            .entries
            .with(|entries| entries.phase = entries.phase.max(Phase::Draining));
    }

    /// Ready when no run is open.
    pub(crate) async fn all_ended(&self) {
        let mut waiter = Waiter::default();
        poll_fn(|cx| self.poll_ended(&mut waiter, cx)).await;
    }

    fn poll_ended(&self, waiter: &mut Waiter, cx: &mut Context<'_>) -> Poll<()> {
        // Cloned out here: a waker is foreign code, and must not be called under the lock.
        let waker = cx.waker().clone();
        let (poll, _replaced) = self.register.entries.with(|entries| {
            if entries.runs.is_empty() {
                return (Poll::Ready(()), Some(waker));
            }
            (Poll::Pending, entries.waiting.enlist(waiter, waker))
        });
        poll
    }

    /// From here on nothing is accepted. Gives the runs that are still open, the latest first: what is inside comes before what it is in.
    pub(crate) fn shut_down(&self) -> Vec<Arc<RunCore>> {
        let mut open = self.register.entries.with(|entries| {
            entries.phase = Phase::ShutDown;
            self.register.shut_down.swap(1, Ordering::AcqRel);
            has_changed();
            let runs = entries.runs.iter();
            runs.filter_map(|(_, (started, run))| Some((*started, run.upgrade()?)))
                .collect::<Vec<_>>()
        });
        open.sort_by_key(|(started, _)| core::cmp::Reverse(*started));
        open.into_iter().map(|(_, run)| run).collect()
    }

    pub(crate) fn count_closed(&self, runs: usize) -> usize {
        self.register.entries.with(|entries| {
            entries.closed += runs;
            entries.closed
        })
    }
}

/// A run that is open, as far as a shutdown is concerned.
pub(crate) struct OpenRun {
    register: Arc<Register>,
    key: usize,
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        let (_run, waiting) = self.register.entries.with(|entries| {
            let run = entries.runs.try_remove(self.key);
            (run, entries.runs.is_empty().then(|| entries.waiting.take()))
        });
        wake(waiting.into_iter().flatten());
    }
}
