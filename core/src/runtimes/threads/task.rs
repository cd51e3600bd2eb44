//! Tasks: futures that a crew of threads polls.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::task::{Context, Poll, Waker};

use slab::Slab;

use super::super::here::{Polls, are_polled};
use super::crew::{Crew, Work};
use crate::contain::contained;
use crate::runtime::BoxFuture;
use crate::sync::Lock;

/// The tasks of a runtime, and who polls them.
pub(super) struct Tasks {
    crew: Arc<Crew<Arc<Task>>>,
    /// Those that are not done, until no more are taken. A task that nobody will wake waits here for the runtime's end.
    open: Lock<Option<Slab<Arc<Task>>>>,
}

pub(super) struct Task {
    state: Lock<State>,
    tasks: Arc<Tasks>,
    key: usize,
}

enum State {
    /// Nobody has woken it.
    Idle(BoxFuture<'static, ()>),
    /// It is in the crew's queue.
    Queued(BoxFuture<'static, ()>),
    /// It is being polled, and has been woken since that began, or not.
    Polled { woken: bool },
    /// It is ready, or was given up.
    Done,
}

impl Tasks {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            crew: Crew::new("rappel-task", most),
            open: Lock::new(Some(Slab::new())),
        })
    }

    pub(super) fn crew(&self) -> &Crew<Arc<Task>> {
        &self.crew
    }

    /// Polls the future until it is done; gives up, and drops it, where no more are taken.
    pub(super) fn spawn(self: &Arc<Self>, future: BoxFuture<'static, ()>) -> Result<(), ()> {
        let mut future = Some(future);
        let task = self.open.with(|open| {
            let entry = open.as_mut()?.vacant_entry();
            let task = Arc::new(Task {
                state: Lock::new(State::Queued(future.take()?)),
                tasks: self.clone(),
                key: entry.key(),
            });
            entry.insert(task.clone());
            Some(task)
        });
        task.ok_or(())?.queue()
    }

    /// Whether this thread is polling one of them.
    pub(super) fn are_polled_here(&self) -> bool {
        are_polled(self)
    }

    /// Takes no more tasks, and drops those that there are; one that is being polled when that is over.
    pub(super) fn close(&self) {
        let open = self.open.with(Option::take);
        self.crew.close();
        for (_, task) in open.into_iter().flatten() {
            task.end();
        }
    }
}

impl Task {
    fn queue(self: Arc<Self>) -> Result<(), ()> {
        let crew = self.tasks.crew.clone();
        crew.submit(self).map_err(|task| task.end())
    }

    /// It is ready, has panicked, or is given up: it goes, and its future with it.
    fn end(&self) {
        let state = self.state.with(|state| core::mem::replace(state, State::Done));
        if matches!(state, State::Done) {
            return;
        }
        let _kept = self.tasks.open.with(|open| open.as_mut()?.try_remove(self.key));
        // The drop is foreign code.
        let _ = contained(|| drop(state));
    }

    /// It goes to the queue, unless it is there, or goes there by itself once it has been polled.
    fn is_to_be_queued(&self) -> bool {
        self.state.with(|state| match core::mem::replace(state, State::Done) {
            State::Idle(future) => {
                *state = State::Queued(future);
                true
            }
            State::Polled { .. } => {
                *state = State::Polled { woken: true };
                false
            }
            other => {
                *state = other;
                false
            }
        })
    }

    /// Puts the future back after a poll. Gives it back where the task was given up meanwhile, and whether the task has to be queued.
    fn put_back(&self, future: BoxFuture<'static, ()>) -> (Option<BoxFuture<'static, ()>>, bool) {
        self.state.with(|state| match state {
            State::Polled { woken: true } => {
                *state = State::Queued(future);
                (None, true)
            }
            State::Polled { woken: false } => {
                *state = State::Idle(future);
                (None, false)
            }
            _ => (Some(future), false),
        })
    }
}

impl Work for Arc<Task> {
    fn work(self) {
        let future = self
            .state
            .with(|state| match core::mem::replace(state, State::Polled { woken: false }) {
                State::Queued(future) => Some(future),
                other => {
                    *state = other;
                    None
                }
            });
        let Some(mut future) = future else { return };
        let waker = Waker::from(self.clone());
        let _polls = Polls::tasks_of(&*self.tasks);
        let polled = contained(|| future.as_mut().poll(&mut Context::from_waker(&waker)));
        if let Ok(Poll::Pending) = polled {
            let (given_up, again) = self.put_back(future);
            drop(given_up);
            if again {
                let _ = self.queue();
            }
        } else {
            self.end();
        }
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if self.is_to_be_queued() {
            let _ = self.queue();
        }
    }
}
