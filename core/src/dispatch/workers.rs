//! The blocking jobs that serve the lanes of sync handlers.
//!
//! A lane is not bound to a thread. Lanes that have something wait in one queue, and each worker
//! takes the next one. A worker that finds none lingers for some milliseconds, so that a stream of
//! events does not need a new job for each. A worker that has worked for long goes to the end of
//! the executor's queue, so that other users of the executor get their turn.

use alloc::boxed::Box;
use alloc::sync::Arc;
#[cfg(feature = "std")]
use core::ops::ControlFlow;
use core::time::Duration;

use crate::queue::{Schedule, Wake};
use crate::runtime::Runtime;
#[cfg(feature = "std")]
use crate::util::Condvar;
#[cfg(feature = "std")]
use crate::util::sync::{LOOKS, yield_thread};
use crate::util::{Mutex, catch_unwind, drop_quietly};

/// What a worker serves.
pub(crate) trait Serve: Send + Sync + 'static {
    /// What a worker keeps from one lane to the next, which mostly is the same lane.
    type Kept: Default;

    /// Serves until the budget is over or nothing is left. Whether there is more to do.
    fn serve(self: &Arc<Self>, kept: &mut Self::Kept, budget: &mut Budget) -> bool;

    /// No worker will come.
    fn abandon(&self);

    /// The worker that served it last goes.
    fn idle(&self);
}

/// How many calls a worker makes before it goes to the end of the executor's queue. It matters if
/// the clock stands still.
const MOST_CALLS: usize = 65_536;

/// How long it makes them.
const MOST_TIME: Duration = Duration::from_millis(10);

/// How many calls of a trace a worker makes before the next trace's turn comes.
const TURN_CALLS: usize = 64;

/// How long it makes them.
const TURN_TIME: Duration = Duration::from_millis(1);

/// A worker that looks for work for so long shares its processor with others.
#[cfg(feature = "std")]
const CROWDED: Duration = Duration::from_micros(200);

/// What is left of a worker's time.
pub(crate) struct Budget {
    calls: usize,
    /// Calls of this turn.
    turn_calls: usize,
    /// How many events to take next: a clock is read once per batch, and batches grow while calls
    /// are quick.
    batch: usize,
    clock: Clock,
}

/// The runtime's clock. Without a timer it is the system's, and without that one time stands still.
struct Clock {
    runtime: Arc<dyn Runtime>,
    #[cfg(feature = "std")]
    origin: std::time::Instant,
    began: Duration,
    /// The time since then at the last reading, and at the beginning of this turn.
    read: Duration,
    turn: Duration,
}

impl Clock {
    fn new(runtime: &Arc<dyn Runtime>) -> Self {
        let mut clock = Self {
            runtime: runtime.clone(),
            #[cfg(feature = "std")]
            origin: std::time::Instant::now(),
            began: Duration::ZERO,
            read: Duration::ZERO,
            turn: Duration::ZERO,
        };
        clock.began = clock.elapsed();
        clock
    }

    /// The time since the worker began.
    fn elapsed(&self) -> Duration {
        let now = match self.runtime.timer() {
            Some(timer) => timer.now(),
            #[cfg(feature = "std")]
            None => self.origin.elapsed(),
            #[cfg(not(feature = "std"))]
            None => Duration::ZERO,
        };
        now.saturating_sub(self.began)
    }
}

impl Budget {
    fn new(runtime: &Arc<dyn Runtime>) -> Self {
        Self { calls: 0, turn_calls: 0, batch: 1, clock: Clock::new(runtime) }
    }

    /// How many events to take at a time.
    pub(crate) fn batch(&self) -> usize {
        self.batch.min(TURN_CALLS - self.turn_calls)
    }

    /// How quick the calls of a lane are is not known at first.
    pub(crate) fn begin_lane(&mut self) {
        self.batch = 1;
    }

    /// A trace's turn begins.
    pub(crate) fn begin_turn(&mut self) {
        self.turn_calls = 0;
        self.clock.turn = self.clock.read;
    }

    /// So many calls have been made.
    pub(crate) fn count(&mut self, calls: usize) {
        self.calls += calls;
        self.turn_calls += calls;
        let now = self.clock.elapsed();
        let quick = now.saturating_sub(self.clock.read) < TURN_TIME / 8;
        self.clock.read = now;
        self.batch = if quick { (self.batch * 2).min(TURN_CALLS) } else { 1 };
    }

    pub(crate) fn is_turn_over(&self) -> bool {
        let time = self.clock.read.saturating_sub(self.clock.turn);
        time >= TURN_TIME || self.turn_calls >= TURN_CALLS
    }

    pub(crate) fn is_over(&self) -> bool {
        self.clock.read >= MOST_TIME || self.calls >= MOST_CALLS
    }
}

pub(crate) struct Workers<L> {
    runtime: Arc<dyn Runtime>,
    schedule: Mutex<Schedule<Arc<L>>>,
    #[cfg(feature = "std")]
    lingering: Condvar,
}

impl<L: Serve> Workers<L> {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            schedule: Mutex::new(Schedule::new()),
            #[cfg(feature = "std")]
            lingering: Condvar::new(),
        })
    }

    /// Has a worker serve the lane. It must not be waiting or being served.
    pub(crate) fn serve(self: &Arc<Self>, lane: Arc<L>) {
        let wake = self.schedule.with(|schedule| schedule.enqueue(lane));
        self.wake(wake);
    }

    fn wake(self: &Arc<Self>, wake: Wake) {
        match wake {
            Wake::None => {}
            Wake::Spawn => self.spawn_worker(),
            Wake::Idle => {
                #[cfg(feature = "std")]
                self.lingering.notify_one();
            }
        }
    }

    /// Gives the executor a worker that counts as coming already.
    fn spawn_worker(self: &Arc<Self>) {
        let worker = Worker(Some(self.clone()));
        // On an error, or a panic for want of threads, the worker is dropped, which abandons the
        // lanes that it would have served.
        let _ = catch_unwind(|| self.runtime.spawn_blocking_boxed(Box::new(move || worker.run())));
    }

    fn work(self: &Arc<Self>) {
        let (mut kept, mut budget) = (L::Kept::default(), Budget::new(&self.runtime));
        let mut next = self.schedule.with(Schedule::arrive);
        while let Some(lane) = next {
            let more = serve(&lane, &mut kept, &mut budget);
            let over = budget.is_over();
            let patience = self.patience(over);
            let (found, wake) = self.schedule.with(|schedule| {
                if more {
                    schedule.push(lane.clone());
                }
                let found = if over { None } else { schedule.next(!patience.is_zero()) };
                (found, schedule.wake())
            });
            self.wake(wake);
            next = found.or_else(|| self.linger(patience));
            if next.is_none() {
                lane.idle();
            }
            // It may be the last to have the handler, whose drop is user code.
            drop_quietly(lane);
        }
        drop_quietly(kept);
    }

    /// How long a worker that finds no lane waits for one.
    fn patience(&self, over: bool) -> Duration {
        if over || cfg!(not(feature = "std")) { Duration::ZERO } else { self.runtime.linger() }
    }

    /// Waits for a lane that has something. The schedule counts the worker as one that looks again.
    ///
    /// An emitter that has got its answer often has the next event soon. So the worker yields its
    /// processor some times before it sleeps: to wake it would take longer.
    #[cfg(feature = "std")]
    fn linger(&self, patience: Duration) -> Option<Arc<L>> {
        if patience.is_zero() {
            return None;
        }
        let began = std::time::Instant::now();
        let mut looks = 0..LOOKS;
        let found = loop {
            let (patient, crowded) = (looks.next().is_some(), began.elapsed() > CROWDED);
            match self.schedule.with(|schedule| schedule.look_again(patient, crowded)) {
                ControlFlow::Continue(()) => yield_thread(),
                ControlFlow::Break(found) => break found,
            }
        };
        found.or_else(|| self.schedule.wait(&self.lingering, patience, Schedule::look))
    }

    #[cfg(not(feature = "std"))]
    fn linger(&self, _: Duration) -> Option<Arc<L>> {
        None
    }
}

/// Serves the lane. Whether there is more to do.
fn serve<L: Serve>(lane: &Arc<L>, kept: &mut L::Kept, budget: &mut Budget) -> bool {
    // Panics of handlers are caught where they are called. This is for a panic of the runtime.
    catch_unwind(|| lane.serve(kept, budget)).unwrap_or_else(|_| {
        lane.abandon();
        false
    })
}

/// A worker on its way to a thread. If the executor drops it, its lanes are abandoned.
struct Worker<L: Serve>(Option<Arc<Workers<L>>>);

impl<L: Serve> Worker<L> {
    fn run(mut self) {
        if let Some(workers) = self.0.take() {
            workers.work();
        }
    }
}

impl<L: Serve> Drop for Worker<L> {
    fn drop(&mut self) {
        let Some(workers) = self.0.take() else { return };
        for lane in workers.schedule.with(Schedule::refuse) {
            lane.abandon();
        }
    }
}
