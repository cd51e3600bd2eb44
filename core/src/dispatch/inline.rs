//! An inline sync handler: called on the emitter's task, one call at a time.
//!
//! The handler is in a cell that is only ever tried. An emitter that finds it taken waits without
//! blocking its thread. An event that is emitted inside a handler's call is deferred: it is handled
//! by the task that has the handler, or by a task of the runtime, and never on the stack of
//! another handler.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::task::{Context, Poll};
use core::time::Duration;

use super::context::{FrameKind, Place, Swapped};
use super::item::part_of;
use super::lane::BoxSyncHandler;
use super::meta::count;
use super::{Answer, Current, Envelope, HandlerMeta, RunNode};
use crate::model::context::{EventContext, Losses};
use crate::model::error::FailureCause;
use crate::model::event::Event;
use crate::queue::Part;
use crate::runtime::Runtime;
use crate::util::sync::{AtomicUsize, Ordering};
use crate::util::{
    Locked, Mutex, Turn, WaitGuard, WakerKey, WakerSet, catch_unwind, drop_quietly, wake_all,
};

/// How many deferred events wait at most.
const MOST_DEFERRED: usize = 64;

/// An emitter waits, an event is deferred, or a flush waits.
const ATTEND: usize = 1;

pub(crate) struct InlineSlot {
    handler: Turn<BoxSyncHandler>,
    /// The number of deferred events.
    deferred: AtomicUsize,
    waiting: Mutex<Waiting>,
    meta: Arc<HandlerMeta>,
    timeout: Option<Duration>,
    runtime: Arc<dyn Runtime>,
}

#[derive(Default)]
struct Waiting {
    emitters: WakerSet,
    deferred: VecDeque<Deferred>,
    /// Events that were dropped since the last delivery.
    dropped: usize,
    flushes: Vec<WaitGuard>,
}

struct Deferred {
    node: Arc<RunNode>,
    envelope: Arc<Envelope>,
    emitter: Current,
}

impl InlineSlot {
    pub(crate) fn new(
        handler: BoxSyncHandler,
        meta: Arc<HandlerMeta>,
        timeout: Option<Duration>,
        runtime: Arc<dyn Runtime>,
    ) -> Self {
        Self {
            handler: Turn::new(handler),
            deferred: AtomicUsize::new(0),
            waiting: Mutex::new(Waiting::default()),
            meta,
            timeout,
            runtime,
        }
    }

    pub(crate) fn deferred_events(&self) -> usize {
        self.waiting.with(|waiting| waiting.deferred.len())
    }

    #[inline]
    pub(crate) fn try_checkout(&self) -> Option<Checkout<'_>> {
        Some(self.checkout(self.handler.try_hold()?))
    }

    #[inline]
    fn checkout<'a>(&'a self, locked: Locked<'a, BoxSyncHandler>) -> Checkout<'a> {
        let mut checkout = Checkout { slot: self, locked: Some(locked) };
        // Deferred events come before later events of the same run.
        if self.deferred.load(Ordering::Acquire) > 0 {
            checkout.call_deferred();
        }
        checkout
    }

    /// The handler, once no other call has it.
    pub(crate) fn poll_checkout(
        &self,
        key: &mut WakerKey,
        cx: &mut Context<'_>,
    ) -> Poll<Checkout<'_>> {
        let register = || {
            let waker = cx.waker().clone();
            let _replaced = self.waiting.with(|waiting| waiting.emitters.register(key, waker));
        };
        match self.handler.hold_or_request(ATTEND, register) {
            Some(locked) => Poll::Ready(self.checkout(locked)),
            None => Poll::Pending,
        }
    }

    /// Leaves an event that was emitted inside a handler's call to a task that has the handler.
    pub(crate) fn defer(
        &self,
        owner: &Arc<super::Registered>,
        node: &Arc<RunNode>,
        envelope: Arc<Envelope>,
        emitter: Current,
    ) {
        let deferred = Deferred { node: node.clone(), envelope, emitter };
        let part = part_of(&deferred.envelope.event, node.info.kind());
        let refused = self.waiting.with(|waiting| {
            // An end always has room.
            if waiting.deferred.len() >= MOST_DEFERRED && !part.is_last() {
                waiting.dropped += usize::from(part.counts());
                return Some(deferred);
            }
            waiting.deferred.push_back(deferred);
            self.deferred.fetch_add(1, Ordering::AcqRel);
            None
        });
        if refused.is_some() {
            match part {
                Part::Start => {
                    node.refuse(self.meta.id);
                    count(&self.meta.counters.refused, 1);
                }
                _ => count(&self.meta.counters.dropped, 1),
            }
            drop_quietly(refused);
            return;
        }
        // If the handler is taken, the task that has it attends to the event. Otherwise the bit
        // stays for the task that is spawned.
        if self.handler.request(ATTEND).is_some() {
            let task = Attend(Some(owner.clone()));
            let task = Box::pin(async move { task.run() });
            let _ = catch_unwind(|| self.runtime.spawn_boxed(task));
        }
    }

    /// Keeps `guard` until all deferred events are handled.
    pub(crate) fn flush(&self, guard: WaitGuard) {
        let done = self.waiting.with(|waiting| {
            if waiting.deferred.is_empty() {
                return Some(guard);
            }
            waiting.flushes.push(guard);
            None
        });
        drop(done);
    }

    /// No task will come: what is deferred is reported as not called.
    fn abandon(&self) {
        let (deferred, flushes) = self.waiting.with(|waiting| {
            (core::mem::take(&mut waiting.deferred), core::mem::take(&mut waiting.flushes))
        });
        self.deferred.fetch_sub(deferred.len(), Ordering::AcqRel);
        for Deferred { node, envelope, emitter } in deferred {
            self.meta.fail(envelope.event.kind(), FailureCause::RuntimeGone, &node);
            drop_quietly((node, envelope, emitter));
        }
        drop(flushes);
    }
}

/// The handler of a slot, taken for calls. It goes back on drop.
pub(crate) struct Checkout<'a> {
    slot: &'a InlineSlot,
    locked: Option<Locked<'a, BoxSyncHandler>>,
}

impl Checkout<'_> {
    /// Calls the handler in the place that is in force. `true` if the event was handled.
    pub(crate) fn call(&mut self, node: &RunNode, event: &Event, cx: &EventContext) -> bool {
        let slot = self.slot;
        let Some(handler) = &mut self.locked else { return false };
        let timer = slot.timeout.and_then(|after| Some((slot.runtime.timer()?, after)));
        let began = timer.map(|(timer, after)| (timer, timer.now(), after));
        let mut answer = slot.meta.ask_sync(&mut ***handler, event, cx);
        if let (Answer::Handled, Some((timer, began, after))) = (&answer, began) {
            if timer.now().saturating_sub(began) > after {
                answer = Answer::Failed(event.kind(), FailureCause::TimedOut(after));
            }
        }
        let handled = matches!(answer, Answer::Handled);
        slot.meta.conclude(answer, node);
        handled
    }

    /// Handles what was deferred. Emitters that wait for the handler get their turn after that.
    fn call_deferred(&mut self) {
        let most = MOST_DEFERRED;
        for _ in 0..most {
            let next = self.slot.waiting.with(|waiting| {
                Some((waiting.deferred.pop_front()?, core::mem::take(&mut waiting.dropped)))
            });
            let Some((Deferred { node, envelope, emitter }, dropped)) = next else { break };
            self.slot.deferred.fetch_sub(1, Ordering::AcqRel);
            let mut cx = EventContext::new(node.info.clone());
            envelope.describe(&mut cx);
            cx.losses = Losses { dropped, ..Losses::default() };
            let place = Place::in_call(&emitter, &node, FrameKind::Task);
            let mut current: Current = Some(place.clone());
            let called = catch_unwind(|| {
                let _place = Swapped::new(&mut current);
                self.call(&node, &envelope.event, &cx)
            });
            place.end_call();
            count(&self.slot.meta.counters.handled, usize::from(called.unwrap_or(false)));
            drop_quietly((node, envelope, emitter));
        }
    }
}

impl Drop for Checkout<'_> {
    #[inline]
    fn drop(&mut self) {
        let Some(locked) = self.locked.take() else { return };
        if self.slot.handler.release(locked) != 0 {
            self.slot.attend();
        }
    }
}

impl InlineSlot {
    /// Looks after those who have come while the handler was taken.
    #[cold]
    fn attend(&self) {
        // If the handler is taken, the task that has it attends when it gives it back.
        while let Some(locked) = self.handler.hold_or_request(ATTEND, || {}) {
            let mut checkout = Checkout { slot: self, locked: Some(locked) };
            checkout.call_deferred();
            // Taken out, or the drop of `Checkout` would attend once more.
            let Some(locked) = checkout.locked.take() else { return };
            let bits = self.handler.release(locked);
            let (emitters, flushes, more) = self.waiting.with(|waiting| {
                let more = !waiting.deferred.is_empty();
                let flushes = if more { Vec::new() } else { core::mem::take(&mut waiting.flushes) };
                (waiting.emitters.take(), flushes, more)
            });
            wake_all(emitters);
            drop(flushes);
            if !more && bits == 0 {
                return;
            }
        }
    }
}

/// A task that attends to deferred events. Dropped before it has, it reports them.
struct Attend(Option<Arc<super::Registered>>);

impl Attend {
    fn run(mut self) {
        if let Some(super::Target::Inline(slot)) = self.0.take().as_deref().map(|o| &o.target) {
            slot.attend();
        }
    }
}

impl Drop for Attend {
    fn drop(&mut self) {
        if let Some(super::Target::Inline(slot)) = self.0.take().as_deref().map(|o| &o.target) {
            slot.abandon();
        }
    }
}
