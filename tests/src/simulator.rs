//! A runtime that is one thread and a seed: which task or blocking job goes next is drawn, so that a seed is an order of events, and the same one
//! each time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use fastrand::Rng;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner};

/// The runtime of one seed. It is cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Simulator(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    /// Those that are not being polled.
    tasks: BTreeMap<u64, BoxFuture<'static, ()>>,
    /// What can go on, in no order.
    ready: Vec<Step>,
    spawned: u64,
}

enum Step {
    Task(u64),
    Job(BoxJob),
}

impl Simulator {
    /// The runtime of that seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng::with_seed(seed),
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            spawned: 0,
        })))
    }

    /// A number below `limit`.
    #[must_use]
    pub fn draw(&self, limit: usize) -> usize {
        self.state().rng.usize(..limit)
    }

    /// Spawns a task.
    pub fn go(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.state();
        let id = state.spawned;
        state.spawned += 1;
        state.tasks.insert(id, Box::pin(task));
        state.ready.push(Step::Task(id));
    }

    /// Runs one thing after the other until nothing can go on. Gives how many tasks are stuck.
    #[must_use]
    pub fn run(&self) -> usize {
        while let Some(step) = self.next() {
            match step {
                Step::Job(job) => job(),
                Step::Task(id) => self.poll(id),
            }
        }
        self.state().tasks.len()
    }

    fn next(&self) -> Option<Step> {
        let mut state = self.state();
        let count = state.ready.len();
        (count > 0).then(|| {
            let drawn = state.rng.usize(..count);
            state.ready.swap_remove(drawn)
        })
    }

    fn poll(&self, id: u64) {
        // A task that was woken twice is gone the second time, or is polled in vain.
        let Some(mut task) = self.state().tasks.remove(&id) else { return };
        let waker = Waker::from(Arc::new(Wakes(self.clone(), id)));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.state().tasks.insert(id, task);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Wakes(Simulator, u64);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.state().ready.push(Step::Task(self.1));
    }
}

impl Spawner for Simulator {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.go(task);
        Ok(())
    }
}

impl BlockingExecutor for Simulator {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.state().ready.push(Step::Job(job));
        Ok(())
    }

    /// There is one thread: a job that waited would wait for ever.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulator")
    }
}
