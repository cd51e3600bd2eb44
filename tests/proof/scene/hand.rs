//! A runtime for one thread without an operating system: a queue of tasks and a queue of blocking
//! jobs, served in a loop.

extern crate alloc;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use critical_section::Mutex;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner};

/// The runtime. All clones are the same runtime.
#[derive(Clone, Default)]
pub struct Hand(Arc<Queues>);

#[derive(Default)]
struct Queues {
    ready: Queue<Arc<Task>>,
    jobs: Queue<BoxJob>,
}

/// A task, and the queues of its runtime. It has no future while that is polled, and when it is done.
struct Task {
    future: Mutex<RefCell<Option<BoxFuture<'static, ()>>>>,
    queues: Arc<Queues>,
}

impl Hand {
    /// Runs a future and everything that it spawns. `None` if it is not ready when nothing can go on.
    pub fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let output = Arc::new(Mutex::new(RefCell::new(None)));
        let place = output.clone();
        let task = async move {
            let ready = future.await;
            critical_section::with(|section| place.borrow(section).replace(Some(ready)));
        };
        self.spawn_boxed(Box::pin(task)).ok()?;
        loop {
            if let Some(task) = self.0.ready.pop() {
                task.poll();
            } else if let Some(job) = self.0.jobs.pop() {
                job();
            } else {
                return critical_section::with(|section| output.borrow(section).take());
            }
        }
    }
}

impl Spawner for Hand {
    fn spawn_boxed(&self, future: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        let task = Task { future: Mutex::new(RefCell::new(Some(future))), queues: self.0.clone() };
        self.0.ready.push(Arc::new(task));
        Ok(())
    }
}

impl BlockingExecutor for Hand {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.0.jobs.push(job);
        Ok(())
    }

    /// A job that lingers would block all tasks.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Task {
    fn poll(self: Arc<Self>) {
        let future =
            critical_section::with(|section| self.future.borrow(section).borrow_mut().take());
        let Some(mut future) = future else { return };
        let waker = Waker::from(self.clone());
        if future.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Pending {
            critical_section::with(|section| self.future.borrow(section).replace(Some(future)));
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let queues = self.queues.clone();
        queues.ready.push(self);
    }
}

/// First in, first out.
struct Queue<T>(Mutex<RefCell<VecDeque<T>>>);

impl<T> Queue<T> {
    fn push(&self, item: T) {
        critical_section::with(|section| self.0.borrow(section).borrow_mut().push_back(item));
    }

    fn pop(&self) -> Option<T> {
        critical_section::with(|section| self.0.borrow(section).borrow_mut().pop_front())
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(Mutex::new(RefCell::new(VecDeque::new())))
    }
}
