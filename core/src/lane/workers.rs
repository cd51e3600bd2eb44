//! The blocking jobs that serve lanes.
//!
//! A lane is not bound to a thread: lanes that have something wait in one queue, and each job takes the next one. A job that finds none lingers a
//! few milliseconds, so that a stream of events need not hop to a new job for each; since it takes whichever lane comes, none waits for a thread
//! while one lingers. A job that has worked for long enough goes to the end of the executor's queue, so that others who use that get their turn.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
#[cfg(feature = "std")]
use core::time::Duration;

use crate::contain::contained;
use crate::runtime::Runtime;
#[cfg(feature = "std")]
use crate::sync::Bell;
use crate::sync::Lock;

/// What is served.
pub(crate) trait Serve: Send + Sync + 'static {
    /// What the next lane of a shift may use again, which mostly is the same one.
    type Kept;

    /// Serves for as long as `shift` says. Whether there is more to do.
    fn serve(self: &Arc<Self>, shift: &mut Shift<Self::Kept>) -> bool;

    /// Nobody will serve it: lets go of all that waits.
    fn abandon(self: &Arc<Self>);
}

/// How many calls a job makes before it goes to the end of the executor's queue.
const CALLS: u32 = 1024;

/// For how long it makes them.
#[cfg(feature = "std")]
const WORK: Duration = Duration::from_millis(10);

/// What is left of a job's time.
pub(crate) struct Shift<K> {
    pub(crate) kept: Option<K>,
    calls: u32,
    #[cfg(feature = "std")]
    watch: Watch,
}

/// A job's time. A clock costs more than a quick call: it is read once for more and more calls, for as long as they are quick.
#[cfg(feature = "std")]
struct Watch {
    began: std::time::Instant,
    /// The time at the last reading.
    read: Duration,
    /// How many calls there are between two readings, and how many are left to the next one.
    stride: u32,
    left: u32,
}

#[cfg(feature = "std")]
impl Watch {
    fn new() -> Self {
        Self {
            began: std::time::Instant::now(),
            read: Duration::ZERO,
            stride: 1,
            left: 0,
        }
    }

    /// For how long it goes on, as far as is known after so many calls.
    fn after_call(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return;
        }
        let now = self.began.elapsed();
        // So many more take a tenth of it, unless they are slower than these.
        let quick = (now - self.read) < WORK / 20;
        self.stride = if quick { (self.stride * 2).min(MOST_UNREAD) } else { 1 };
        self.left = self.stride;
        self.read = now;
    }
}

/// How many calls are made at most without a look at the clock.
#[cfg(feature = "std")]
const MOST_UNREAD: u32 = 16;

impl<K> Shift<K> {
    pub(crate) fn new() -> Self {
        Self {
            kept: None,
            calls: CALLS,
            #[cfg(feature = "std")]
            watch: Watch::new(),
        }
    }

    /// A call has been made.
    pub(crate) fn count(&mut self) {
        self.calls = self.calls.saturating_sub(1);
        #[cfg(feature = "std")]
        self.watch.after_call();
    }

    pub(crate) fn is_over(&self) -> bool {
        #[cfg(feature = "std")]
        if self.watch.read >= WORK {
            return true;
        }
        self.calls == 0
    }

    #[cfg(feature = "std")]
    fn left(&self) -> Duration {
        WORK.saturating_sub(self.watch.began.elapsed())
    }
}

pub(crate) struct Workers<L> {
    runtime: Arc<dyn Runtime>,
    floor: Lock<Floor<L>>,
    #[cfg(feature = "std")]
    bell: Bell,
}

struct Floor<L> {
    /// Lanes that have something, and whom nobody serves yet.
    waiting: VecDeque<Arc<L>>,
    /// Jobs that linger.
    idle: usize,
    /// Jobs that were given to the executor, and have not begun.
    coming: usize,
}

/// What the lanes that wait need.
#[must_use = "a lane waits, and nobody comes"]
pub(crate) enum Help {
    /// Somebody is on the way to each.
    None,
    /// One who lingers is to be woken.
    Ring,
    /// One more job is counted as coming, and is to be sent for.
    Send,
}

impl<L> Floor<L> {
    fn call_help(&mut self) -> Help {
        if self.unserved() > 0 {
            self.coming += 1;
            Help::Send
        } else if self.idle > 0 && !self.waiting.is_empty() {
            Help::Ring
        } else {
            Help::None
        }
    }

    /// How many lanes wait for whom nobody is on the way.
    fn unserved(&self) -> usize {
        self.waiting.len().saturating_sub(self.idle + self.coming)
    }
}

impl<L: Serve> Workers<L> {
    pub(crate) fn new(runtime: Arc<dyn Runtime>) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            floor: Lock::new(Floor {
                waiting: VecDeque::new(),
                idle: 0,
                coming: 0,
            }),
            #[cfg(feature = "std")]
            bell: Bell::new(),
        })
    }

    pub(crate) fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// Has somebody serve the lane. It must not be waiting, or being served.
    pub(crate) fn call_for(self: &Arc<Self>, lane: Arc<L>) {
        let help = self.put_in_line(lane);
        self.answer(help);
    }

    /// Has the lane wait for somebody who serves it; whoever comes by may take it from here on. It must not be waiting, or being served.
    ///
    /// It calls nobody, so it may stand where the lane is locked: then a lane that counts as served can be had, or is being served. What comes back is to
    /// be answered outside.
    pub(crate) fn put_in_line(&self, lane: Arc<L>) -> Help {
        self.floor.with(|floor| {
            floor.waiting.push_back(lane);
            floor.call_help()
        })
    }

    /// As [`put_in_line`](Self::put_in_line), by somebody who serves it himself, or [sends for the rest](Self::send_for_the_rest).
    pub(crate) fn leave_in_line(&self, lane: Arc<L>) {
        self.floor.with(|floor| floor.waiting.push_back(lane));
    }

    /// Has somebody serve the lanes for whom nobody is on the way.
    #[cfg(feature = "std")]
    pub(crate) fn send_for_the_rest(self: &Arc<Self>) {
        loop {
            let help = self.floor.with(Floor::call_help);
            let goes_on = matches!(help, Help::Send);
            self.answer(help);
            if !goes_on {
                return;
            }
        }
    }

    /// Serves the lane on this thread, if it waits for somebody who does. Whether there is more to do.
    pub(crate) fn help(self: &Arc<Self>, lane: &Arc<L>) -> bool {
        let more = self.claim(lane) && serve(lane, &mut Shift::new());
        if more {
            self.call_for(lane.clone());
        }
        more
    }

    /// Takes the lane away from those that wait, for somebody who serves it himself; false where it is being served.
    pub(crate) fn claim(&self, lane: &Arc<L>) -> bool {
        let claimed = self.floor.with(|floor| {
            let index = floor.waiting.iter().position(|waiting| Arc::ptr_eq(waiting, lane))?;
            floor.waiting.remove(index)
        });
        claimed.is_some()
    }

    pub(crate) fn answer(self: &Arc<Self>, help: Help) {
        match help {
            Help::None => {}
            Help::Send => self.send_for_one(),
            Help::Ring => {
                #[cfg(feature = "std")]
                self.bell.ring();
            }
        }
    }

    /// Gives the executor a job that is counted as coming already.
    fn send_for_one(self: &Arc<Self>) {
        let arrival = Arrival(Some(self.clone()));
        // On an error, or a panic for want of threads, the job is dropped, and says so itself.
        let _ = contained(|| self.runtime.spawn_blocking_boxed(Box::new(move || arrival.work())));
    }

    fn work(self: &Arc<Self>) {
        let mut shift = Shift::new();
        let mut next = self.floor.with(|floor| {
            floor.coming -= 1;
            floor.waiting.pop_front()
        });
        while let Some(lane) = next {
            let more = serve(&lane, &mut shift);
            let over = shift.is_over();
            let (found, help) = self.floor.with(|floor| {
                if more {
                    floor.waiting.push_back(lane.clone());
                }
                let found = if over { None } else { floor.waiting.pop_front() };
                (found, floor.call_help())
            });
            // It may be the last to have the handler, whose drop is foreign code.
            let _ = contained(|| drop(lane));
            self.answer(help);
            next = match found {
                None if !over => self.linger(&shift),
                found => found,
            };
        }
    }

    /// Waits a little for a lane that has something.
    #[cfg(feature = "std")]
    fn linger(&self, shift: &Shift<L::Kept>) -> Option<Arc<L>> {
        let patience = self.runtime.linger().min(shift.left());
        if patience.is_zero() {
            return None;
        }
        self.floor.with(|floor| floor.idle += 1);
        self.floor.wait(&self.bell, patience, |floor, last| {
            let found = floor.waiting.pop_front();
            floor.idle -= usize::from(found.is_some() || last);
            found
        })
    }

    #[cfg(not(feature = "std"))]
    fn linger(&self, _: &Shift<L::Kept>) -> Option<Arc<L>> {
        None
    }
}

/// Serves the lane. Whether there is more to do.
fn serve<L: Serve>(lane: &Arc<L>, shift: &mut Shift<L::Kept>) -> bool {
    // Handlers' panics are contained where they are called. This one is for a panic of the runtime's.
    contained(|| lane.serve(shift)).unwrap_or_else(|_| {
        lane.abandon();
        false
    })
}

/// A job on its way to a thread. If the executor drops it instead, those whom it was to serve are told.
struct Arrival<L: Serve>(Option<Arc<Workers<L>>>);

impl<L: Serve> Arrival<L> {
    fn work(mut self) {
        if let Some(workers) = self.0.take() {
            workers.work();
        }
    }
}

impl<L: Serve> Drop for Arrival<L> {
    fn drop(&mut self) {
        let Some(workers) = self.0.take() else { return };
        let unserved: Vec<Arc<L>> = workers.floor.with(|floor| {
            floor.coming -= 1;
            let unserved = floor.unserved();
            floor.waiting.drain(..unserved).collect()
        });
        for lane in unserved {
            lane.abandon();
        }
    }
}
