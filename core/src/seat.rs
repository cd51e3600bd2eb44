//! Where an inline sync handler sits between calls; who finds it taken waits without blocking the thread.
//!
//! The handler is *moved out* while it is called: so no lock is held then, and calls do not overlap.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::future::poll_fn;
use core::task::Poll;

use crate::handler::CallbackHandler;
use crate::lane::Call;
use crate::sync::Lock;
use crate::waiters::{Waiter, Waiters, wake};

type BoxHandler = Box<dyn CallbackHandler>;

/// How many events wait at most that were emitted inside a call of the handler itself.
const ROOM: usize = 64;

/// Where an inline sync handler sits between calls.
pub(crate) struct Seat(Lock<State>);

struct State {
    handler: Option<BoxHandler>,
    waiting: Waiters,
    /// Events that were emitted inside a call of the handler: whoever makes that call makes these after it.
    later: VecDeque<Call>,
}

/// What became of a call that cannot be waited for.
pub(crate) enum Left {
    Queued,
    NoRoom(Call),
    /// The handler is in its seat, after all.
    Free(Call),
}

impl Seat {
    pub(crate) fn new(handler: BoxHandler) -> Self {
        Self(Lock::new(State {
            handler: Some(handler),
            waiting: Waiters::default(),
            later: VecDeque::new(),
        }))
    }

    /// The handler, if it is free.
    pub(crate) fn take_now(&self) -> Option<Taken<'_>> {
        let handler = self.0.with(|state| state.handler.take())?;
        Some(Taken {
            seat: self,
            handler: Some(handler),
        })
    }

    /// The handler, once it is free.
    pub(crate) async fn take(&self) -> Taken<'_> {
        let mut waiter = Waiter::default();
        poll_fn(|cx| {
            if let Some(taken) = self.take_now() {
                return Poll::Ready(taken);
            }
            // Cloned out here: a waker is foreign code, and must not be called under the lock.
            let waker = cx.waker().clone();
            let (handler, _replaced) = self.0.with(|state| match state.handler.take() {
                Some(handler) => (Some(handler), Some(waker)),
                None => (None, state.waiting.enlist(&mut waiter, waker)),
            });
            match handler {
                Some(_) => Poll::Ready(Taken { seat: self, handler }),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Leaves a call to whoever has taken the handler.
    pub(crate) fn leave(&self, call: Call) -> Left {
        self.0.with(|state| {
            if state.handler.is_some() {
                Left::Free(call)
            } else if state.later.len() >= ROOM {
                Left::NoRoom(call)
            } else {
                state.later.push_back(call);
                Left::Queued
            }
        })
    }
}

/// An inline handler, taken; it goes back to its seat on drop.
pub(crate) struct Taken<'a> {
    seat: &'a Seat,
    handler: Option<BoxHandler>,
}

impl Taken<'_> {
    pub(crate) fn get(&mut self) -> &mut dyn CallbackHandler {
        let Some(handler) = &mut self.handler else {
            unreachable!("the handler is here until the drop")
        };
        &mut **handler
    }

    /// The next call that was left to us. When there is none, the handler is back in its seat.
    pub(crate) fn next(&mut self) -> Option<Call> {
        let (call, waiting) = self.seat.0.with(|state| {
            let call = state.later.pop_front();
            if call.is_some() {
                return (call, None);
            }
            state.handler = self.handler.take();
            (None, Some(state.waiting.take()))
        });
        // All of them: a waker may belong to a task that was dropped meanwhile.
        wake(waiting.into_iter().flatten());
        call
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.handler.is_none() {
            return;
        }
        // Something panicked that is not the handler: what was left to us reports itself.
        let (waiting, _left) = self.seat.0.with(|state| {
            state.handler = self.handler.take();
            (state.waiting.take(), core::mem::take(&mut state.later))
        });
        wake(waiting);
    }
}
