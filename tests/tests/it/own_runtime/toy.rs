//! A toy runtime: one thread polls all tasks, and each blocking job has a thread of its own.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread;

use rappel_core::runtime::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner};

/// Sends woken tasks to the thread that polls them.
#[derive(Clone)]
pub struct Toy(Sender<Arc<Task>>);

/// A task until it is ready, and the queue that it is put on when it is woken.
pub struct Task(Mutex<Option<BoxFuture<'static, ()>>>, Toy);

impl Toy {
    pub fn new() -> Self {
        let (toy, woken) = channel::<Arc<Task>>();
        thread::spawn(move || woken.into_iter().for_each(Task::poll));
        Self(toy)
    }
}

impl Task {
    fn poll(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut cx = Context::from_waker(&waker);
        let mut task = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let poll = task.as_mut().map(|future| future.as_mut().poll(&mut cx));
        if poll.is_some_and(|poll| poll.is_ready()) {
            *task = None;
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let _ = self.1.clone().0.send(self);
    }
}

impl Spawner for Toy {
    fn spawn_boxed(&self, future: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        let task = Task(Mutex::new(Some(future)), self.clone());
        self.0.send(Arc::new(task)).map_err(|_| SpawnError::shutdown())
    }
}

impl BlockingExecutor for Toy {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        let thread = thread::Builder::new().spawn(job);
        thread.map(drop).map_err(|_| SpawnError::shutdown())
    }
}
