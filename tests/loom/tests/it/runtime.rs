//! Core's `runtime`: a pool of loom's threads, that runs jobs or drops them.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use loom::sync::{Condvar, Mutex};
use loom::thread::{self, JoinHandle};

pub(crate) type BoxJob = Box<dyn FnOnce() + Send + 'static>;

pub(crate) trait Runtime: Send + Sync {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), Gone>;

    fn linger(&self) -> Duration;
}

/// The runtime takes no more jobs.
pub(crate) struct Gone;

/// What becomes of a job.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    Run,
    /// Dropped at once, by whoever sent for it.
    Refuse,
    /// Dropped by a thread of the pool.
    Lose,
}

pub(crate) struct Pool {
    linger: Duration,
    desk: Arc<Desk>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Where jobs lie for the threads.
struct Desk {
    state: Mutex<State>,
    /// There is a job, or there will be none.
    work: Condvar,
    /// A thread has nothing to do.
    rest: Condvar,
}

struct State {
    jobs: VecDeque<(Fate, BoxJob)>,
    /// What becomes of the jobs to come; later ones are run.
    fates: VecDeque<Fate>,
    /// How many threads have a job.
    busy: usize,
    closed: bool,
}

impl Pool {
    pub(crate) fn new(threads: usize, linger: Duration, fates: &[Fate]) -> Self {
        let desk = Arc::new(Desk {
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
            let desk = desk.clone();
            thread::spawn(move || desk.work())
        };
        Self {
            linger,
            threads: Mutex::new((0..threads).map(thread).collect()),
            desk,
        }
    }

    /// Waits until there is nothing to do.
    pub(crate) fn rest(&self) {
        let mut state = self.desk.state.lock().unwrap();
        while state.busy > 0 || !state.jobs.is_empty() {
            state = self.desk.rest.wait(state).unwrap();
        }
    }

    /// Waits until there is nothing to do, and ends the threads.
    pub(crate) fn end(&self) {
        self.rest();
        self.desk.state.lock().unwrap().closed = true;
        self.desk.work.notify_all();
        for thread in self.threads.lock().unwrap().drain(..) {
            thread.join().unwrap();
        }
    }
}

impl Desk {
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
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), Gone> {
        let mut state = self.desk.state.lock().unwrap();
        let fate = state.fates.pop_front().unwrap_or(Fate::Run);
        if let Fate::Refuse = fate {
            // Foreign code runs in its drop, which must not find the desk locked.
            drop(state);
            return Err(Gone);
        }
        state.jobs.push_back((fate, job));
        self.desk.work.notify_one();
        Ok(())
    }

    fn linger(&self) -> Duration {
        self.linger
    }
}
