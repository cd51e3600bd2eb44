//! A deterministic runtime: a seed decides which task, blocking job or timer runs next, so a seed
//! is one order of steps, and the same order each time.
//!
//! Time is a number. It jumps to the next sleeper when nothing else can run. Blocking jobs may
//! block: a job that blocks keeps its thread, and another thread takes the next steps. Exactly one
//! thread runs at a time: the one that has the baton.
//!
//! A simulator can also [preempt](Simulator::with_preemption) code: wherever code spawns, wakes or
//! reads the time, other threads may run before it goes on.

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
use rappel_core::{BlockingExecutor, Clock, Entropy, SpawnError, Spawner, Timer};

/// How much time may pass while something else could run.
const BUSY: Duration = Duration::from_millis(200);

/// More steps than any simulation takes: some tasks wake each other for ever.
const MOST_STEPS: usize = 1_000_000;

/// How many threads may be preempted at a time.
const MOST_PREEMPTED: usize = 6;

/// The runtime of one seed. All clones are the same runtime.
#[derive(Clone)]
pub struct Simulator(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Notified when the baton changes hands.
    baton: Condvar,
}

struct State {
    rng: Rng,
    now: Duration,
    /// Tasks that are not being polled.
    tasks: BTreeMap<u64, BoxFuture<'static, ()>>,
    /// Tasks that were woken while they were being polled.
    woken: BTreeSet<u64>,
    /// What can run next, in no order.
    ready: Vec<Step>,
    /// Jobs that wait for a thread of the pool.
    jobs: Vec<BoxJob>,
    /// How many threads of the pool have no job.
    free: usize,
    sleepers: BTreeMap<(Duration, u64), Waker>,
    numbers: u64,
    threads: Threads,
    /// One interaction with the runtime in so many is preempted. 0: none.
    preempts: usize,
    preempted: usize,
    steps: usize,
    /// Set when nothing can run any more.
    outcome: Option<Result<(), String>>,
}

/// Who has the baton, and who waits for it.
#[derive(Default)]
struct Threads {
    holder: usize,
    /// Threads without a step.
    idle: Vec<usize>,
    /// Threads in the middle of a step that blocks, or that is preempted.
    blocked: BTreeSet<usize>,
    started: Vec<JoinHandle<()>>,
}

enum Step {
    Task(u64),
    Job,
    /// A thread that blocked looks again.
    Blocked(usize),
}

thread_local! {
    /// This thread's number in its simulation. 0 outside of a simulation.
    static ME: Cell<usize> = const { Cell::new(0) };
}

impl Simulator {
    /// The runtime of that seed. Its pool has so many threads for blocking jobs.
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
            preempts: 0,
            preempted: 0,
            steps: 0,
            outcome: None,
        };
        Self(Arc::new(Shared { state: Mutex::new(state), baton: Condvar::new() }))
    }

    /// Preempts one interaction with the runtime in `times`.
    #[must_use]
    pub fn with_preemption(self, times: usize) -> Self {
        self.state().preempts = times;
        self
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

    /// A number that is given out once.
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

    /// Runs one step after the other until nothing can run. It can be called again after that.
    ///
    /// # Errors
    /// The message of a panic, or how much is stuck. Stuck threads stay: unwinding them would run
    /// more code of a simulation that has failed.
    pub fn run(&self) -> Result<(), String> {
        let mut state = self.state();
        state.outcome = None;
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
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        let join = |thread: JoinHandle<()>| thread.join().map_err(|panic| message_of(&*panic));
        threads.started.into_iter().try_for_each(join)
    }

    /// Blocks this thread until the future is ready.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let me = ME.get();
        let waker = Waker::from(Arc::new(Wakes(self.clone(), move || Step::Blocked(me))));
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            self.pass_baton(self.state(), me);
        }
    }

    /// Blocks this thread for that long.
    pub fn block_for(&self, duration: Duration) {
        self.block_on(self.sleep(duration));
    }

    /// Lets other threads run now, perhaps.
    fn preempt(&self) {
        let me = ME.get();
        if me == 0 || std::thread::panicking() {
            return;
        }
        let mut state = self.state();
        let preempts = state.preempts;
        if preempts == 0 || state.threads.holder != me || state.preempted >= MOST_PREEMPTED {
            return;
        }
        if state.rng.usize(..preempts) > 0 || state.ready.is_empty() {
            return;
        }
        state.preempted += 1;
        state.ready.push(Step::Blocked(me));
        self.pass_baton(state, me);
        self.state().preempted -= 1;
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
                self.end(Err(message_of(&*panic)));
            }
        }
    }

    /// The next step. `None` at the end.
    fn next(&self) -> Option<Step> {
        loop {
            let mut state = self.state();
            if state.outcome.is_some() {
                return None;
            }
            state.steps += 1;
            if state.steps > MOST_STEPS {
                state.outcome = Some(Err("it never ends".into()));
                self.0.baton.notify_all();
                return None;
            }
            let count = state.ready.len();
            let next = state.sleepers.first_key_value().map(|(next, _)| *next);
            // On a busy machine a little time passes too.
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
        // A task that was woken twice may be gone, or may be polled right now.
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

    /// Lets another thread run until this one, which is in the middle of a step, is woken.
    fn pass_baton(&self, mut state: MutexGuard<'_, State>, me: usize) {
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

    /// Returns with the baton, or at the end. A thread in the middle of a step stays there then.
    fn wait_for_baton(&self, mut state: MutexGuard<'_, State>, me: usize) {
        let stays = |state: &State| state.outcome.is_none() || state.threads.blocked.contains(&me);
        while state.threads.holder != me && stays(&state) {
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

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}

struct Wakes<F>(Simulator, F);

impl<F: Fn() -> Step + Send + Sync> Wake for Wakes<F> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.state().ready.push((self.1)());
        self.0.preempt();
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
        self.preempt();
        Ok(())
    }

    /// No thread may block in a way that the simulator does not see.
    fn may_block(&self) -> bool {
        false
    }
}

impl BlockingExecutor for Simulator {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        let mut state = self.state();
        state.jobs.push(job);
        state.ready.push(Step::Job);
        drop(state);
        self.preempt();
        Ok(())
    }

    /// A job that lingers would wait for ever: only what blocks in the simulator passes the baton.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Timer for Simulator {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let mut state = self.state();
        let (due, number) = (state.now + duration, state.next_number());
        drop(state);
        self.preempt();
        Box::pin(Sleep { simulator: self.clone(), due, number })
    }

    fn now(&self) -> Duration {
        let now = self.state().now;
        self.preempt();
        now
    }
}

impl Clock for Simulator {
    fn now(&self) -> Option<Duration> {
        Some(self.state().now)
    }
}

impl Entropy for Simulator {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.number().to_be_bytes();
        bytes.fill(0);
        for (byte, number) in bytes.iter_mut().rev().zip(number.iter().rev()) {
            *byte = *number;
        }
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simulator")
    }
}
