//! Tasks: futures that the threads of a pool poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rappel_core::runtime::BoxFuture;

use crate::catch_unwind::{catch_unwind, drop_caught};
use crate::current::CurrentRuntime;
use crate::pool::{ThreadPool, Work};
use crate::sync::Mutex;

/// The tasks of a runtime, and the pool that polls them.
pub(crate) struct Tasks {
    pool: Arc<ThreadPool<Arc<Task>>>,
    open: Mutex<OpenTasks>,
}

/// The tasks that are not done. A task that nothing wakes is kept alive only by this list, so that
/// the end of the runtime can drop it.
struct OpenTasks {
    tasks: HashMap<u64, Arc<Task>>,
    next_key: u64,
    is_closed: bool,
}

pub(crate) struct Task {
    state: Mutex<State>,
    tasks: Arc<Tasks>,
    key: u64,
}

enum State {
    /// It waits for a wake-up.
    Idle(BoxFuture<'static, ()>),
    /// It is in the pool's queue.
    Queued(BoxFuture<'static, ()>),
    /// A thread polls it and holds the future.
    Polled { is_woken: bool },
    /// The future is dropped, or the thread that polls it will drop it.
    Done,
}

impl Tasks {
    pub(crate) fn new(max_threads: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            pool: ThreadPool::new("rappel-task", max_threads, idle_timeout),
            open: Mutex::new(OpenTasks { tasks: HashMap::new(), next_key: 0, is_closed: false }),
        })
    }

    pub(crate) fn pool(&self) -> &ThreadPool<Arc<Task>> {
        &self.pool
    }

    /// Spawns the future. Drops it if the runtime has been closed, or if the system has no thread
    /// for it, and returns `false` then.
    pub(crate) fn spawn(self: &Arc<Self>, future: BoxFuture<'static, ()>) -> bool {
        let mut open = self.open.lock();
        if open.is_closed {
            drop(open);
            drop_caught(future);
            return false;
        }
        let key = open.next_key;
        open.next_key += 1;
        let task =
            Arc::new(Task { state: Mutex::new(State::Queued(future)), tasks: self.clone(), key });
        open.tasks.insert(key, task.clone());
        drop(open);
        task.submit()
    }

    /// Returns `true` if the current thread polls one of these tasks.
    pub(crate) fn is_polling_here(&self) -> bool {
        CurrentRuntime::is(self)
    }

    /// Takes no more tasks and drops the existing ones. A task that is being polled is dropped
    /// after that poll.
    pub(crate) fn close(&self) {
        let mut open = self.open.lock();
        open.is_closed = true;
        let tasks = std::mem::take(&mut open.tasks);
        drop(open);
        self.pool.close();
        for task in tasks.into_values() {
            task.end();
        }
    }
}

impl Task {
    fn submit(self: Arc<Self>) -> bool {
        let pool = self.tasks.pool.clone();
        pool.submit(self).map_err(|task| task.end()).is_ok()
    }

    /// Ends the task: it is ready, has panicked, or the runtime ends.
    fn end(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Done);
        drop_caught(state);
        let removed = self.tasks.open.lock().tasks.remove(&self.key);
        drop(removed);
    }

    /// Takes the future out for a poll. Returns `None` if the task has ended.
    fn start_poll(&self) -> Option<BoxFuture<'static, ()>> {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Polled { is_woken: false }) {
            State::Queued(future) => Some(future),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Puts the future back after a poll that was pending.
    fn finish_poll(&self, future: BoxFuture<'static, ()>) -> AfterPoll {
        let mut state = self.state.lock();
        match *state {
            State::Polled { is_woken: true } => {
                *state = State::Queued(future);
                AfterPoll::Woken
            }
            State::Polled { is_woken: false } => {
                *state = State::Idle(future);
                AfterPoll::Waits
            }
            _ => AfterPoll::Ended(future),
        }
    }

    /// Records a wake-up. Returns `true` if the caller has to submit the task.
    fn wake_state(&self) -> bool {
        let mut state = self.state.lock();
        match std::mem::replace(&mut *state, State::Done) {
            State::Idle(future) => {
                *state = State::Queued(future);
                true
            }
            State::Polled { .. } => {
                // The thread that polls the task queues it again after the poll.
                *state = State::Polled { is_woken: true };
                false
            }
            other => {
                *state = other;
                false
            }
        }
    }
}

enum AfterPoll {
    /// It was woken during the poll.
    Woken,
    Waits,
    /// The runtime ended during the poll. The caller drops the future.
    Ended(BoxFuture<'static, ()>),
}

impl Work for Arc<Task> {
    fn run(self) -> Option<Self> {
        let mut future = self.start_poll()?;
        // Until the end of this function: a future may also ask in its `Drop`.
        let _current = CurrentRuntime::enter(&*self.tasks);
        let waker = Waker::from(self.clone());
        let polled = catch_unwind(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        if !matches!(polled, Some(Poll::Pending)) {
            drop_caught(future);
            self.end();
            return None;
        }
        match self.finish_poll(future) {
            AfterPoll::Woken => Some(self),
            AfterPoll::Waits => None,
            AfterPoll::Ended(future) => {
                drop_caught(future);
                None
            }
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.wake_state() {
            self.submit();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.wake_state() {
            self.clone().submit();
        }
    }
}
