//! A runtime that is a seed: which task, blocking job or timer goes next is drawn, so that a seed is an order of events, and the same one each time.
//!
//! Time is a number that jumps to the next sleeper when nothing else can go on. Blocking jobs may block, as they may on a real pool: a job that does so
//! keeps its thread, and another thread goes on with the rest. One thread has the baton at a time, so nothing ever runs beside something else.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer};

/// How much time may pass while something could go on.
const BUSY: Duration = Duration::from_millis(200);

/// The runtime of one seed. It is cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Simulator(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Rung when the baton changes hands.
    baton: Condvar,
}

struct State {
    rng: Rng,
    now: Duration,
    /// Tasks that are not being polled.
    tasks: BTreeMap<u64, BoxFuture<'static, ()>>,
    /// Those that were woken while they were.
    woken: BTreeSet<u64>,
    /// What can go on, in no order.
    ready: Vec<Step>,
    /// Jobs that wait for a thread of the pool, and how many may have one.
    jobs: Vec<BoxJob>,
    free: usize,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    numbers: u64,
    threads: Threads,
    /// How it went, once nothing can go on.
    outcome: Option<Result<(), String>>,
}

/// Who has the baton, and who waits for it.
#[derive(Default)]
struct Threads {
    holder: usize,
    /// Those that have nothing to do.
    idle: Vec<usize>,
    /// Those that are in the middle of a job that blocks.
    blocked: BTreeSet<usize>,
    started: Vec<JoinHandle<()>>,
}

enum Step {
    Task(u64),
    Job,
    /// A job that blocked looks again.
    Blocked(usize),
}

thread_local! {
    /// This thread's number in its simulation.
    static ME: Cell<usize> = const { Cell::new(0) };
}

impl Simulator {
    /// The runtime of that seed, whose pool has so many threads.
    #[must_use]
    pub fn new(seed: u64, blocking_threads: usize) -> Self {
        let state = State {
            rng: Rng::with_seed(seed),
            now: Duration::ZERO,
            tasks: BTreeMap::new(),
            woken: BTreeSet::new(),
            ready: Vec::new(),
            jobs: Vec::new(),
            free: blocking_threads,
            sleepers: BTreeMap::new(),
            numbers: 0,
            threads: Threads::default(),
            outcome: None,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            baton: Condvar::new(),
        }))
    }

    /// A number below `limit`.
    #[must_use]
    pub fn draw(&self, limit: usize) -> usize {
        self.state().rng.usize(..limit)
    }

    /// True once in so many times.
    #[must_use]
    pub fn one_in(&self, times: usize) -> bool {
        self.draw(times) == 0
    }

    /// One of them.
    #[must_use]
    pub fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.draw(of.len())]
    }

    /// A number that it gives once.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.state().next_number()
    }

    /// Spawns a task.
    pub fn go(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut state = self.state();
        let id = state.next_number();
        state.tasks.insert(id, Box::pin(task));
        state.ready.push(Step::Task(id));
    }

    /// Runs one thing after the other until nothing can go on.
    ///
    /// # Errors
    /// What panicked; or how much is stuck. Threads that are stuck stay so: unwinding them would run code of which nobody wants to hear any more.
    pub fn run(&self) -> Result<(), String> {
        let mut state = self.state();
        state.threads.holder = self.start_thread(&mut state);
        self.0.baton.notify_all();
        while state.outcome.is_none() {
            state = self.0.baton.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.outcome.clone().unwrap_or(Ok(()))?;
        let left = (state.tasks.len(), state.threads.blocked.len(), state.jobs.len());
        if left != (0, 0, 0) {
            return Err(format!("stuck: {} tasks, {} threads, {} jobs", left.0, left.1, left.2));
        }
        let threads = std::mem::take(&mut state.threads.started);
        drop(state);
        threads.into_iter().try_for_each(JoinHandle::join).map_err(|panic| what(&*panic))
    }

    /// Blocks this thread, as a handler may that is called off the loop, until the future is ready.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let me = ME.get();
        let waker = Waker::from(Arc::new(Wakes(self.clone(), move || Step::Blocked(me))));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            self.pass_baton(me);
        }
    }

    /// Blocks this thread for that long.
    pub fn block_for(&self, duration: Duration) {
        self.block_on(self.sleep(duration));
    }

    /// Takes steps for as long as this thread has the baton.
    fn serve(&self) {
        let me = ME.get();
        while let Some(step) = self.next() {
            let done = match step {
                Step::Job => self.work(),
                Step::Task(id) => self.poll(id),
                Step::Blocked(thread) => {
                    let mut state = self.state();
                    if state.threads.blocked.remove(&thread) {
                        state.threads.idle.push(me);
                        self.hand_over(state, me, thread);
                    }
                    Ok(())
                }
            };
            if let Err(panic) = done {
                self.end(Err(what(&*panic)));
            }
        }
    }

    /// The next step, unless it is over.
    fn next(&self) -> Option<Step> {
        loop {
            let mut state = self.state();
            if state.outcome.is_some() {
                return None;
            }
            let count = state.ready.len();
            let next = state.sleepers.first_key_value().map(|(next, _)| *next);
            // A machine that is busy lets a little time pass too.
            let soon = next.filter(|(due, _)| *due <= state.now + BUSY);
            if count > 0 && (soon.is_none() || state.rng.usize(..32) > 0) {
                let drawn = state.rng.usize(..count);
                return Some(state.ready.swap_remove(drawn));
            }
            let Some((due, number)) = next else {
                drop(state);
                self.end(Ok(()));
                return None;
            };
            state.now = state.now.max(due);
            let waker = state.sleepers.remove(&(due, number));
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }

    fn end(&self, outcome: Result<(), String>) {
        self.state().outcome.get_or_insert(outcome);
        self.0.baton.notify_all();
    }

    fn work(&self) -> std::thread::Result<()> {
        let job = {
            let mut state = self.state();
            if state.free == 0 || state.jobs.is_empty() {
                return Ok(());
            }
            state.free -= 1;
            let count = state.jobs.len();
            let drawn = state.rng.usize(..count);
            state.jobs.swap_remove(drawn)
        };
        let done = catch_unwind(AssertUnwindSafe(job));
        let mut state = self.state();
        state.free += 1;
        if !state.jobs.is_empty() {
            state.ready.push(Step::Job);
        }
        done
    }

    fn poll(&self, id: u64) -> std::thread::Result<()> {
        let mut state = self.state();
        // One that was woken twice may be gone, or in the middle of a poll.
        let Some(mut task) = state.tasks.remove(&id) else {
            state.woken.insert(id);
            return Ok(());
        };
        state.woken.remove(&id);
        drop(state);
        let waker = Waker::from(Arc::new(Wakes(self.clone(), move || Step::Task(id))));
        let mut cx = Context::from_waker(&waker);
        catch_unwind(AssertUnwindSafe(move || {
            if task.as_mut().poll(&mut cx).is_pending() {
                let mut state = self.state();
                state.tasks.insert(id, task);
                if state.woken.remove(&id) {
                    state.ready.push(Step::Task(id));
                }
            }
        }))
    }

    /// Lets another thread go on, until somebody wakes this one, which is in the middle of a job.
    fn pass_baton(&self, me: usize) {
        let mut state = self.state();
        state.threads.blocked.insert(me);
        let other = state.threads.idle.pop().unwrap_or_else(|| self.start_thread(&mut state));
        self.hand_over(state, me, other);
    }

    fn start_thread(&self, state: &mut State) -> usize {
        let (simulator, number) = (self.clone(), state.threads.started.len() + 1);
        let thread = std::thread::spawn(move || {
            ME.set(number);
            simulator.wait_for_baton(simulator.state(), number);
            simulator.serve();
        });
        state.threads.started.push(thread);
        number
    }

    fn hand_over(&self, mut state: MutexGuard<'_, State>, me: usize, other: usize) {
        state.threads.holder = other;
        self.0.baton.notify_all();
        self.wait_for_baton(state, me);
    }

    /// Comes back with the baton, or when all is over. One that is in the middle of a job then stays there.
    fn wait_for_baton(&self, mut state: MutexGuard<'_, State>, me: usize) {
        while state.threads.holder != me && (state.outcome.is_none() || state.threads.blocked.contains(&me)) {
            state = self.0.baton.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

/// What a panic said.
fn what(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

struct Wakes<F>(Simulator, F);

impl<F: Fn() -> Step + Send + Sync> Wake for Wakes<F> {
    fn wake(self: Arc<Self>) {
        self.0.state().ready.push((self.1)());
    }
}

/// Sleeps until a time has come.
struct Sleep {
    simulator: Simulator,
    due: Duration,
    number: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.simulator.state();
        if state.now >= self.due {
            return Poll::Ready(());
        }
        state.sleepers.insert((self.due, self.number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let waker = self.simulator.state().sleepers.remove(&(self.due, self.number));
        drop(waker);
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
        let mut state = self.state();
        state.jobs.push(job);
        state.ready.push(Step::Job);
        Ok(())
    }

    /// Only what blocks passes the baton on: a job that lingered would wait for ever.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Timer for Simulator {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.state();
        let (due, number) = (state.now + duration, state.next_number());
        drop(state);
        Box::pin(Sleep {
            simulator: self.clone(),
            due,
            number,
        })
    }

    fn now(&self) -> Duration {
        self.state().now
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulator")
    }
}
