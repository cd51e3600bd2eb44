//! A pool of threads with one queue.
//!
//! The pool starts a thread when there is more work than idle threads, up to a limit. A thread
//! that has been idle for a while ends.
//!
//! All of the pool's state is under one mutex, and each of these is one critical section: a
//! submit (push the work, and notify an idle thread or start one), and the end of a thread (look
//! at the queue, find it empty, stop being idle, leave the pool). So when a submit counts a thread
//! as idle, that thread looks at the queue once more before it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::catch_unwind::{catch_unwind, drop_caught};
use super::sync::{Condvar, Mutex, MutexGuard, ThreadId, current_thread, spawn};

/// A piece of work. A panic in it ends only this piece.
pub(crate) trait Work: Send + Sized + 'static {
    /// Returned work goes to the end of the queue. Unlike a submit, that starts no other thread: the
    /// thread that calls this is free again.
    fn run(self) -> Option<Self>;
}

pub(crate) struct ThreadPool<W> {
    name: &'static str,
    max_threads: usize,
    /// How long a thread waits for work before it ends.
    idle_timeout: Duration,
    state: Mutex<State<W>>,
    /// Notified when there is work for an idle thread, and when the pool is closed.
    work: Condvar,
    /// Notified when the pool's threads become fewer.
    left: Condvar,
}

struct State<W> {
    queue: VecDeque<W>,
    /// All threads from the submit that starts them to their end.
    threads: Vec<PoolThread>,
    /// How many of the threads are inside `work.wait_timeout`, or woken and not yet back.
    idle: usize,
    is_closed: bool,
}

struct PoolThread {
    id: ThreadId,
    /// This thread is inside `wait_until_left`, of this pool or of another one of the runtime.
    waits_for_others: bool,
}

/// How `ThreadPool::wait_until_left` treats threads that wait there themselves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A thread of the runtime. It does not wait for threads that wait in the same way, or two
    /// such threads would wait for each other for ever.
    Inside,
    /// Any other thread. It waits for all.
    Outside,
}

impl<W: Work> ThreadPool<W> {
    pub(crate) fn new(name: &'static str, max_threads: usize, idle_timeout: Duration) -> Arc<Self> {
        Arc::new(Self {
            name,
            max_threads,
            idle_timeout,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                threads: Vec::new(),
                idle: 0,
                is_closed: false,
            }),
            work: Condvar::new(),
            left: Condvar::new(),
        })
    }

    /// Queues the work.
    ///
    /// # Errors
    /// Returns the work if the pool is closed, or if it has no thread and cannot start one.
    pub(crate) fn submit(self: &Arc<Self>, work: W) -> Result<(), W> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(work);
        }
        // A thread becomes idle only when the queue is empty, and each submit since then has
        // notified one idle thread. So each queued piece of work takes one, and the rest is free.
        let is_idle_thread_free = state.queue.len() < state.idle;
        if !is_idle_thread_free && state.threads.len() < self.max_threads {
            // Started under the lock: if that fails, no other submit has counted on the thread.
            let started = self.spawn_worker();
            match started {
                Some(id) => state.threads.push(PoolThread { id, waits_for_others: false }),
                None if state.threads.is_empty() => return Err(work),
                // The existing threads do it later.
                None => {}
            }
        }
        state.queue.push_back(work);
        drop(state);
        if is_idle_thread_free {
            self.work.notify_one();
        }
        Ok(())
    }

    fn spawn_worker(self: &Arc<Self>) -> Option<ThreadId> {
        let pool = self.clone();
        spawn(self.name, move || pool.run_worker()).ok()
    }

    fn run_worker(&self) {
        let mut state = self.state.lock();
        let mut is_timed_out = false;
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                let again = catch_unwind(|| work.run()).flatten();
                state = self.requeue(again);
                is_timed_out = false;
            } else if is_timed_out || state.is_closed {
                break;
            } else {
                (state, is_timed_out) = self.wait_for_work(state);
            }
        }
        // Still the critical section in which the queue was found empty.
        let me = current_thread();
        state.threads.retain(|thread| thread.id != me);
        drop(state);
        self.left.notify_all();
    }

    /// The caller takes work from the queue before it unlocks the state, so there is not more work
    /// for the idle threads than before.
    fn requeue(&self, work: Option<W>) -> MutexGuard<'_, State<W>> {
        let mut state = self.state.lock();
        match work {
            Some(work) if state.is_closed => {
                drop(state);
                drop_caught(work);
                state = self.state.lock();
            }
            Some(work) => state.queue.push_back(work),
            None => {}
        }
        state
    }

    /// Waits once. The caller has to look at the queue, whatever the flag says.
    fn wait_for_work<'a>(
        &self,
        mut state: MutexGuard<'a, State<W>>,
    ) -> (MutexGuard<'a, State<W>>, bool) {
        state.idle += 1;
        let (mut state, is_timed_out) = self.work.wait_timeout(state, self.idle_timeout);
        state.idle -= 1;
        (state, is_timed_out)
    }

    /// Takes no more work, and drops the work that has not begun. Each thread ends after the work
    /// that it does now.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let queue = std::mem::take(&mut state.queue);
        drop(state);
        self.work.notify_all();
        queue.into_iter().for_each(drop_caught);
    }

    /// Marks the current thread as one that waits for the others, or no longer. Returns `true` if
    /// it is a thread of this pool.
    pub(crate) fn set_waits_for_others(&self, waits: bool) -> bool {
        let me = current_thread();
        let mut state = self.state.lock();
        let thread = state.threads.iter_mut().find(|thread| thread.id == me);
        let is_found = thread.map(|thread| thread.waits_for_others = waits).is_some();
        drop(state);
        self.left.notify_all();
        is_found
    }

    /// Blocks until all threads have ended. The pool must be closed.
    pub(crate) fn wait_until_left(&self, caller: Caller) {
        let mut state = self.state.lock();
        while state
            .threads
            .iter()
            .any(|thread| caller == Caller::Outside || !thread.waits_for_others)
        {
            state = self.left.wait(state);
        }
    }

    /// How many threads there are.
    pub(crate) fn thread_count(&self) -> usize {
        self.state.lock().threads.len()
    }
}
