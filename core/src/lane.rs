//! A sync handler's work, waiting: where its calls are put in order, and kept from overlapping.
//!
//! A handler is *moved out* of its lane or seat while it is called, so that no lock is held then, and a second call cannot begin.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use futures_channel::oneshot;

use crate::contain::contained;
use crate::context;
use crate::dispatch::Envelope;
use crate::error::HandlerFailure;
use crate::handler::CallbackHandler;
use crate::registration::Registration;
use crate::runtime::Runtime;
use crate::sync::Lock;

type BoxHandler = Box<dyn CallbackHandler>;

/// How many calls a drain makes before it goes to the end of the executor's queue, so that a busy lane does not keep a thread for itself.
const CALLS_PER_DRAIN: usize = 64;

/// The calls of one handler, drained by one blocking job at a time.
///
/// The queue is bounded by the number of open runs: each has at most one event in flight.
pub(crate) struct Lane {
    runtime: Arc<dyn Runtime>,
    state: Lock<LaneState>,
}

struct LaneState {
    /// Absent while a drain has it.
    handler: Option<BoxHandler>,
    queue: VecDeque<Call>,
    /// Whether a drain is scheduled or running.
    draining: bool,
}

/// A call that waits. Dropped uncalled, because the executor has dropped the drain, it reports itself.
struct Call {
    owner: Arc<Registration>,
    envelope: Arc<Envelope>,
    /// Absent once it is called.
    done: Option<oneshot::Sender<Option<HandlerFailure>>>,
}

impl Call {
    fn make(mut self, handler: &mut dyn CallbackHandler) {
        let done = self.done.take();
        let entered = context::enter(self.envelope.emitter());
        let failure = self.owner.call_sync(handler, &self.envelope);
        drop(entered);
        answer(done, failure);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let done @ Some(_) = self.done.take() {
            let failure = self.owner.report_uncalled(&self.envelope);
            answer(done, Some(failure));
        }
    }
}

fn answer(done: Option<oneshot::Sender<Option<HandlerFailure>>>, failure: Option<HandlerFailure>) {
    // Nobody waits any more where the emitter's runtime is gone. A waker that panics is its runtime's affair, and must not stop the lane.
    let _ = contained(|| done.map(|done| done.send(failure)));
}

impl Lane {
    pub(crate) fn new(handler: BoxHandler, runtime: Arc<dyn Runtime>) -> Self {
        Self {
            runtime,
            state: Lock::new(LaneState {
                handler: Some(handler),
                queue: VecDeque::new(),
                draining: false,
            }),
        }
    }

    /// Queues the event at the first poll, and waits until it is handled; gives back the handler's failure, reported already.
    pub(crate) async fn enqueue(&self, owner: &Arc<Registration>, envelope: &Arc<Envelope>) -> Option<HandlerFailure> {
        let (done, handled) = oneshot::channel();
        let call = Call {
            owner: owner.clone(),
            envelope: envelope.clone(),
            done: Some(done),
        };
        let idle = self.state.with(|state| {
            state.queue.push_back(call);
            !core::mem::replace(&mut state.draining, true)
        });
        if idle {
            self.schedule(owner.clone());
        }
        // A call answers always, also when it is dropped.
        handled.await.ok().flatten()
    }

    fn schedule(&self, owner: Arc<Registration>) {
        let drain = Drain { owner: Some(owner) };
        // On an error, or a panic for want of threads, the job is dropped, and with it the calls that wait, which report themselves.
        let _ = contained(|| self.runtime.spawn_blocking_boxed(Box::new(move || drain.run())));
    }

    fn drain(&self, owner: &Arc<Registration>) {
        let Some(mut handler) = self.state.with(|state| state.handler.take()) else {
            return;
        };
        for _ in 0..CALLS_PER_DRAIN {
            let Some(call) = self.state.with(|state| state.queue.pop_front()) else {
                break;
            };
            call.make(&mut *handler);
        }
        let more = self.state.with(|state| {
            state.handler = Some(handler);
            state.draining = !state.queue.is_empty();
            state.draining
        });
        if more {
            self.schedule(owner.clone());
        }
    }

    /// Lets go of all that waits: the executor has dropped the drain.
    fn abandon(&self) {
        let calls = self.state.with(|state| {
            state.draining = false;
            core::mem::take(&mut state.queue)
        });
        drop(calls);
    }
}

/// A drain on its way to a thread. If it is dropped before it runs, those who wait for the lane are told.
struct Drain {
    owner: Option<Arc<Registration>>,
}

impl Drain {
    fn run(mut self) {
        if let Some(owner) = self.owner.take() {
            if let Some(lane) = owner.lane() {
                lane.drain(&owner);
            }
        }
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        if let Some(lane) = self.owner.as_ref().and_then(|owner| owner.lane()) {
            lane.abandon();
        }
    }
}

/// Where an inline sync handler sits between calls; who finds it taken waits without blocking the thread.
pub(crate) struct Seat(Lock<SeatState>);

struct SeatState {
    handler: Option<BoxHandler>,
    waiting: Vec<Waker>,
}

impl Seat {
    pub(crate) fn new(handler: BoxHandler) -> Self {
        Self(Lock::new(SeatState {
            handler: Some(handler),
            waiting: Vec::new(),
        }))
    }

    pub(crate) async fn take(&self) -> Taken<'_> {
        let handler = poll_fn(|cx| {
            if let Some(handler) = self.0.with(|state| state.handler.take()) {
                return Poll::Ready(handler);
            }
            // Cloned out here: a waker is foreign code, and must not be called under the lock.
            let waker = cx.waker().clone();
            let (poll, _known) = self.0.with(|state| match state.handler.take() {
                Some(handler) => (Poll::Ready(handler), Some(waker)),
                None if state.waiting.iter().any(|known| known.will_wake(&waker)) => (Poll::Pending, Some(waker)),
                None => {
                    state.waiting.push(waker);
                    (Poll::Pending, None)
                }
            });
            poll
        })
        .await;
        Taken {
            seat: self,
            handler: Some(handler),
        }
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
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let waiting = self.seat.0.with(|state| {
            state.handler = self.handler.take();
            core::mem::take(&mut state.waiting)
        });
        // All of them: a waker may belong to a task that was dropped meanwhile.
        for waker in waiting {
            waker.wake();
        }
    }
}
