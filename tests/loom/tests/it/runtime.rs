//! Core's `runtime`: a pool of loom's threads that runs jobs or drops them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};

pub(crate) type BoxJob = Box<dyn FnOnce() + Send + 'static>;

pub(crate) trait Runtime: Send + Sync {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError>;

    fn linger(&self) -> Duration;

    fn timer(&self) -> Option<&dyn Timer>;
}

pub(crate) trait Timer {
    fn now(&self) -> Duration;
}

/// The runtime accepts no more jobs.
pub(crate) struct SpawnError;

/// What becomes of a job.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    Run,
    /// Dropped at once, by the thread that spawns it.
    Refuse,
    /// Dropped by a thread of the pool.
    Lose,
}

pub(crate) struct Pool {
    linger: Duration,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is a job, or there will be none.
    work: Condvar,
    /// A thread has nothing to do.
    rest: Condvar,
}

struct State {
    jobs: VecDeque<(Fate, BoxJob)>,
    /// What becomes of the jobs to come. Later ones are run.
    fates: VecDeque<Fate>,
    /// How many threads have a job.
    busy: usize,
    closed: bool,
}

impl Pool {
    pub(crate) fn new(threads: usize, linger: Duration, fates: &[Fate]) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                fates: fates.iter().copied().collect(),
                busy: 0,
                closed: false,
            }),
            work: Condvar::new(),
            rest: Condvar::new(),
        });
        let thread = |_| {
            let shared = shared.clone();
            thread::spawn(move || shared.work())
        };
        Self { linger, threads: Mutex::new((0..threads).map(thread).collect()), shared }
    }

    /// Waits until there is nothing to do, and ends the threads.
    pub(crate) fn end(&self) {
        let mut state = self.shared.state.lock().unwrap();
        while state.busy > 0 || !state.jobs.is_empty() {
            state = self.shared.rest.wait(state).unwrap();
        }
        state.closed = true;
        drop(state);
        self.shared.work.notify_all();
        for thread in self.threads.lock().unwrap().drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Shared {
    fn work(&self) {
        while let Some((fate, job)) = self.next() {
            match fate {
                Fate::Run => job(),
                Fate::Refuse | Fate::Lose => drop(job),
            }
            self.state.lock().unwrap().busy -= 1;
            self.rest.notify_one();
        }
    }

    fn next(&self) -> Option<(Fate, BoxJob)> {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.busy += 1;
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state = self.work.wait(state).unwrap();
        }
    }
}

impl Runtime for Pool {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        let mut state = self.shared.state.lock().unwrap();
        let fate = state.fates.pop_front().unwrap_or(Fate::Run);
        if let Fate::Refuse = fate {
            // The drop of the job calls this pool again, perhaps.
            drop(state);
            return Err(SpawnError);
        }
        state.jobs.push_back((fate, job));
        self.shared.work.notify_one();
        Ok(())
    }

    fn linger(&self) -> Duration {
        self.linger
    }

    /// Workers read `std::time::Instant` then, which is the clock that the tests move.
    fn timer(&self) -> Option<&dyn Timer> {
        None
    }
}
