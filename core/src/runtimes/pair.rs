//! No runtime at all: a manager, and a future that does its work when the caller polls it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::AtomicWaker;

#[cfg(feature = "std")]
use super::here::{Polls, are_polled};
use crate::contain::contained;
use crate::manager::CallbackManager;
use crate::runtime::{BlockingExecutor, BoxFuture, BoxJob, Clock, Entropy, SpawnError, Spawner};
use crate::sync::Lock;

/// The runtime of a manager that has none: what is spawned waits until the [`Driver`] that came with it is polled.
///
/// It knows no time: where handlers are to have a [`timeout`](crate::HandlerOptions::timeout), put it together with something that does,
/// such as `CallbackManager::new((paired, threads))`, whose blocking jobs run on these [`Threads`](crate::Threads) then.
#[derive(Clone)]
pub struct Paired(Arc<Handle>);

/// Does the work of the managers that it came with, when it is polled: sync handlers' calls, handlers in the background, the ends of runs that were dropped.
///
/// Poll it beside what emits: with a `select` or a `join`, or as the task of an executor of your own. It is ready once the manager is gone, with all that
/// came of it, and nothing is left to do; it is `Send`, and needs no pin.
///
/// **Sync handlers** are called on the thread that polls it, one call a poll: a slow one keeps that thread. One that blocks until something happens that
/// this thread would have to do blocks for ever.
///
/// **Dropped**, it takes what waits along: emitters that wait get [`RuntimeGone`](crate::EmitError::RuntimeGone), what cannot be called any more is
/// reported, and nothing is taken on from then on.
#[must_use = "nothing happens unless it is polled"]
pub struct Driver {
    waiting: Arc<Waiting>,
    tasks: FuturesUnordered<BoxFuture<'static, ()>>,
}

/// What all clones of a runtime hold: gone with the last of them.
struct Handle(Arc<Waiting>);

/// What the driver has not taken yet.
struct Waiting {
    queue: Lock<Queue>,
    driver: AtomicWaker,
}

struct Queue {
    tasks: Vec<BoxFuture<'static, ()>>,
    jobs: VecDeque<BoxJob>,
    /// Whether the driver is there.
    driven: bool,
    /// Whether anybody is there who may bring more.
    held: bool,
}

/// What there is to do.
struct Taken {
    tasks: Vec<BoxFuture<'static, ()>>,
    job: Option<BoxJob>,
    more_jobs: bool,
    held: bool,
}

impl Paired {
    /// A runtime, and what does its work.
    pub fn new() -> (Self, Driver) {
        let waiting = Arc::new(Waiting {
            queue: Lock::new(Queue {
                tasks: Vec::new(),
                jobs: VecDeque::new(),
                driven: true,
                held: true,
            }),
            driver: AtomicWaker::new(),
        });
        let driver = Driver {
            waiting: waiting.clone(),
            tasks: FuturesUnordered::new(),
        };
        (Self(Arc::new(Handle(waiting))), driver)
    }

    /// Puts something into the queue, if somebody takes it out again.
    fn bring<T>(&self, what: T, push: fn(&mut Queue, T)) -> Result<(), SpawnError> {
        let Handle(waiting) = &*self.0;
        let mut what = Some(what);
        waiting.queue.with(|queue| {
            if queue.driven {
                what.take().into_iter().for_each(|what| push(queue, what));
            }
        });
        // Out here what is not taken is dropped, which is foreign code.
        match what {
            Some(_) => Err(SpawnError::shutdown()),
            None => {
                waiting.driver.wake();
                Ok(())
            }
        }
    }
}

impl Spawner for Paired {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.bring(task, |queue, task| queue.tasks.push(task))
    }

    /// Not where the driver is being polled. (Another thread has to poll it.)
    #[cfg(feature = "std")]
    fn may_block(&self) -> bool {
        !are_polled(&*self.0.0)
    }
}

impl BlockingExecutor for Paired {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.bring(job, |queue, job| queue.jobs.push_back(job))
    }

    /// A job that waits would keep the driver from what it waits for.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.with(|queue| queue.held = false);
        self.0.driver.wake();
    }
}

impl Waiting {
    fn take(&self) -> Taken {
        self.queue.with(|queue| Taken {
            tasks: core::mem::take(&mut queue.tasks),
            job: queue.jobs.pop_front(),
            more_jobs: !queue.jobs.is_empty(),
            held: queue.held,
        })
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Before we look: who brings something after that wakes us.
        self.waiting.driver.register(cx.waker());
        #[cfg(feature = "std")]
        let _polls = Polls::tasks_of(&*self.waiting);
        let Taken {
            tasks,
            job,
            more_jobs,
            held,
        } = self.waiting.take();
        self.tasks.extend(tasks);
        // Handlers' panics are contained where they are called. These are of foreign code around them, which must not end what others wait for.
        let worked = job.is_some();
        let _ = contained(|| job.into_iter().for_each(|job| job()));
        let idle = loop {
            match contained(|| self.tasks.poll_next_unpin(cx)) {
                Ok(Poll::Ready(Some(()))) | Err(_) => {}
                Ok(Poll::Ready(None)) => break true,
                Ok(Poll::Pending) => break false,
            }
        };
        if !held && idle && !more_jobs && !worked {
            return Poll::Ready(());
        }
        if more_jobs || worked {
            // One call a poll, so that others on this thread go on meanwhile; and what that has brought is looked at again.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let (tasks, jobs) = self.waiting.queue.with(|queue| {
            queue.driven = false;
            (core::mem::take(&mut queue.tasks), core::mem::take(&mut queue.jobs))
        });
        // What they carry reports itself.
        tasks.into_iter().for_each(let_go);
        jobs.into_iter().for_each(let_go);
        let_go(core::mem::take(&mut self.tasks));
    }
}

fn let_go<T>(what: T) {
    let _ = contained(|| drop(what));
}

impl CallbackManager<Paired> {
    /// A manager without a runtime, and what does its work when it is polled: see [`Driver`].
    ///
    /// ```
    /// use futures_util::future::{Either, select};
    /// use rappel_core::prelude::*;
    ///
    /// async fn tell(callbacks: CallbackManager<impl Sized>) -> Result<(), RunError> {
    ///     let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
    ///     run.on_llm_new_token("Why not?").await?;
    ///     run.end(LlmResult::from_text("Why not?")).await?;
    ///     Ok(())
    /// }
    ///
    /// let (callbacks, driver) = CallbackManager::pair();
    /// let callbacks = callbacks.with_handler(handler_fn(|event, run| {
    ///     println!("{}: {}", run.name(), event.kind());
    ///     Ok(())
    /// }));
    /// let told = futures_executor::block_on(async {
    ///     match select(Box::pin(tell(callbacks)), driver).await {
    ///         Either::Left((told, driver)) => {
    ///             driver.await; // what is left of it
    ///             told
    ///         }
    ///         Either::Right(_) => unreachable!("the manager is there until all is told"),
    ///     }
    /// });
    /// # told.unwrap();
    /// ```
    #[cfg(feature = "std")]
    pub fn pair() -> (Self, Driver) {
        let (paired, driver) = Paired::new();
        (Self::new(paired), driver)
    }

    /// As `pair`, with its own clock and source of random bytes: for targets without `std`, and for tests.
    pub fn pair_with_sources(clock: impl Clock, entropy: impl Entropy) -> (Self, Driver) {
        let (paired, driver) = Paired::new();
        (Self::with_sources(paired, clock, entropy), driver)
    }
}

impl fmt::Debug for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Paired")
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}
