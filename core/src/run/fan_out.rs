//! What brings one event of a run after the other to its handlers.
//!
//! Handlers' futures borrow the event, so they need a place that does not move and that outlives
//! the emitter. The run keeps that place from one token to the next, so that a token allocates
//! nothing. After any other event it gives the place back, because it may be idle for a while.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;

use pin_project_lite::pin_project;

use super::round::{Accepted, Tally};
use super::seats::Seats;
use super::state::{PendingEvent, Run};
use crate::dispatch::{Current, Envelope, LaneEvent, LaneStep, Registered, Swapped, Target};
use crate::model::context::EventContext;
use crate::model::error::FailureCause;
use crate::model::event::{Event, EventKind, LlmNewToken};
use crate::model::run_info::RunKind;
use crate::util::{WakerKey, WithContext, catch_unwind, drop_quietly};

/// A run's event in flight, or the room for it.
pub(crate) struct FanOut {
    pub(super) at: Accepted,
    /// Whether it is the run's last event.
    last: bool,
    tally: Tally,
    pub(super) seats: Seats,
    /// The event's way into each lane, in the order of [`Setup::lanes`](super::setup::Setup::lanes).
    /// Empty before the first event.
    steps: Box<[LaneStep]>,
    /// Where the emitter is.
    pub(super) emitter: Current,
    /// Whether the emitter is inside a handler's call.
    in_call: bool,
    /// How far the event has come.
    progress: Progress,
}

/// How far an event has come. Handlers that it has not reached when it is dropped are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is no event.
    Idle,
    /// So many of the inline handlers have been asked.
    Inline(usize),
    /// The event is queued in all lanes.
    Lanes,
    /// Every handler has been asked.
    Asked,
}

impl FanOut {
    pub(super) fn new(run: &Run, seats: Seats) -> Self {
        let mut cx = EventContext::new(run.node.info.clone());
        cx.sequence = (run.node.info.kind() != RunKind::None).then_some(0);
        Self {
            at: Accepted {
                node: run.node.clone(),
                setup: run.setup.clone(),
                event: nothing(),
                kind: EventKind::LlmNewToken,
                cx,
            },
            last: false,
            tally: Tally::new(run.setup.handler_count()),
            seats,
            steps: Box::default(),
            emitter: None,
            in_call: false,
            progress: Progress::Idle,
        }
    }

    /// Takes on an accepted event.
    #[inline(always)]
    pub(super) fn load(
        &mut self,
        event: &mut PendingEvent,
        sequence: u64,
        time: Option<Duration>,
        in_call: bool,
    ) {
        match (core::mem::replace(event, PendingEvent::Sent), &mut self.at.event) {
            // It replaces the token before.
            (PendingEvent::Token(token), Event::LlmNewToken(slot)) => {
                slot.replace_with(token);
            }
            (other, _) => self.load_other(other),
        }
        // Events without a run have no numbers.
        self.at.cx.sequence = self.at.cx.sequence.map(|_| sequence);
        self.at.cx.time = time;
        self.in_call = in_call;
        self.progress = Progress::Inline(0);
    }

    #[cold]
    fn load_other(&mut self, event: PendingEvent) {
        self.at.event = match event {
            PendingEvent::Token(token) => Event::LlmNewToken(token),
            PendingEvent::Other(event) => *event,
            PendingEvent::Sent => return,
        };
        self.at.kind = self.at.event.kind();
        // Tokens belong to runs whose last event is another.
        self.last = self.at.kind.is_end() || self.at.node.info.kind() == RunKind::None;
    }

    pub(super) fn add_counts(&mut self) {
        self.tally.add_to(&self.at.setup);
    }

    /// Asks the inline handlers that are left one after the other, in the order of registration. It
    /// stops at one that is async, that another call has, or that may not be called on this stack.
    /// Returns where that one is among the inline handlers.
    fn ask_inline(&mut self) -> Option<usize> {
        let Self { at, tally, progress, in_call, .. } = self;
        let Accepted { node, setup, event, kind, cx } = at;
        let (kind, Progress::Inline(mut asked)) = (*kind, *progress) else { return None };
        while let Some(&number) = setup.inline.get(asked) {
            let handler = setup.handler(number)?;
            if handler.meta.wants(kind) && !node.is_refused(handler.meta.id) {
                let Target::Inline(slot) = &handler.target else { return Some(asked) };
                let checkout = if *in_call { None } else { slot.try_checkout() };
                let Some(mut checkout) = checkout else { return Some(asked) };
                // From here on the call reports itself.
                *progress = Progress::Inline(asked + 1);
                tally.add(number, checkout.call(node, event, cx));
            }
            asked += 1;
            *progress = Progress::Inline(asked);
        }
        None
    }

    /// Queues the event in the lanes.
    fn push_to_lanes(&mut self) {
        let Self { at, seats, steps, emitter, in_call, last, .. } = self;
        let Accepted { node, setup, event, kind, cx } = at;
        let kind = *kind;
        let (seats, mailbox) = seats.at(setup, node, emitter);
        let mut lane_event =
            LaneEvent { node, event, cx, emitter, mailbox, in_call: *in_call, shared: None };
        lane_event.share();
        if steps.is_empty() {
            *steps = setup.lanes().map(|_| LaneStep::default()).collect();
        }
        for (lane, step) in setup.lanes().zip(&mut *steps) {
            lane.prepare(step, *in_call);
        }
        let mut push = || {
            for (lane, (seat, step)) in setup.lanes().zip(seats.iter_mut().zip(&mut *steps)) {
                if lane.wants(kind) {
                    lane.push(seat, step, &lane_event);
                }
            }
        };
        // Every lane gets the events of a trace in one order, also if a handler emits in a call for
        // an event that is not in every lane yet.
        match setup.with_lane.len() {
            0 | 1 => push(),
            _ => node.trace.order.with(|()| push()),
        }
        for (lane, (seat, step)) in setup.lanes().zip(seats.iter_mut().zip(&mut *steps)) {
            lane.settle(step, &lane_event);
            if *last {
                lane.end_unwanted(seat, node, *in_call);
            }
        }
    }
}

/// Stands for no event. It owns no memory.
fn nothing() -> Event {
    Event::LlmNewToken(LlmNewToken::new(""))
}

impl Drop for FanOut {
    /// Dropped with its event, because its runtime is gone: reports the handlers that it has not
    /// reached.
    fn drop(&mut self) {
        let Self { at: Accepted { node, setup, kind, .. }, seats, progress, .. } = self;
        drop_quietly(seats.leave(setup));
        let kind = *kind;
        let report = |handler: &Registered| {
            if handler.meta.wants(kind) {
                handler.meta.fail(kind, FailureCause::RuntimeGone, node);
            }
        };
        if let Progress::Inline(asked) = *progress {
            let left = setup.inline.iter().skip(asked);
            left.filter_map(|number| setup.handler(*number)).for_each(|handler| report(handler));
            setup.with_lane.iter().for_each(|handler| report(handler));
        }
        if matches!(progress, Progress::Inline(_) | Progress::Lanes) {
            setup.in_place.iter().for_each(|(_, handler)| report(handler));
        }
        self.add_counts();
        drop_quietly(core::mem::replace(&mut self.at.event, nothing()));
    }
}

/// Has every handler that wants the event handle it: the inline handlers one after the other, then
/// the lanes and the async handlers side by side. Ready when those that the emitter waits for have
/// answered.
///
/// What is rare is boxed, so that the place of the event in flight is small.
async fn fan_out(mut this: Box<FanOut>) -> Box<FanOut> {
    if !this.at.setup.inline.is_empty() {
        if let Some(stopped) = this.ask_inline() {
            Box::pin(ask_inline_from(&mut this, stopped)).await;
        }
    }
    if this.at.setup.has_lanes() {
        this.push_to_lanes();
    }
    if !this.at.setup.in_place.is_empty() {
        let FanOut { at, tally, progress, .. } = &mut *this;
        let at = &*at;
        let mut place = pin!(None);
        let pending = match at.kind {
            // It may have to be asked twice.
            EventKind::ChatModelStart => Some(0),
            _ => {
                WithContext(|task: &mut Context<'_>| at.ask_all(place.as_mut(), tally, task)).await
            }
        };
        if let Some(next) = pending {
            *progress = Progress::Lanes;
            Box::pin(at.finish_pending(next, place.as_mut(), tally)).await;
            // A call whose time was up is dropped here, and its drop may panic.
            let _ = catch_unwind(|| place.set(None));
        }
    }
    if this.last {
        // The end has been handled in place and is queued in every lane: the parent may end.
        this.at.node.detach();
    }
    if this.at.setup.has_lanes() && !this.in_call {
        this.progress = Progress::Asked;
        poll_fn(|cx| this.at.node.poll_answers(cx)).await;
    }
    this.progress = Progress::Idle;
    if this.at.kind != EventKind::LlmNewToken {
        // The payload is the user's.
        drop_quietly(core::mem::replace(&mut this.at.event, nothing()));
        this.at.kind = EventKind::LlmNewToken;
        this.last = false;
    }
    this
}

/// Asks the inline handler at that place among the inline handlers, which it may have to wait for, and
/// then the others.
async fn ask_inline_from(this: &mut FanOut, mut asked: usize) {
    loop {
        let FanOut { at, tally, progress, emitter, in_call, .. } = &mut *this;
        let at = &*at;
        let Some(&number) = at.setup.inline.get(asked) else { return };
        let Some(handler) = at.setup.handler(number) else { return };
        let done = match &handler.target {
            Target::Inline(slot) if *in_call => {
                let envelope = Arc::new(Envelope::new(&at.event, &at.cx, None));
                slot.defer(handler, &at.node, envelope, emitter.clone());
                false
            }
            Target::Inline(slot) => {
                let mut key = WakerKey::default();
                let mut checkout = poll_fn(|cx| slot.poll_checkout(&mut key, cx)).await;
                // From here on the call reports itself.
                *progress = Progress::Inline(asked + 1);
                checkout.call(&at.node, &at.event, &at.cx)
            }
            Target::Async { .. } | Target::Lane(_) | Target::Gone => {
                *progress = Progress::Inline(asked + 1);
                match at.ask(handler, None) {
                    Some(call) => call.await,
                    None => false,
                }
            }
        };
        tally.add(number, done);
        *progress = Progress::Inline(asked + 1);
        match this.ask_inline() {
            Some(stopped) => asked = stopped,
            None => return,
        }
    }
}

/// The place of a run's event in flight.
pub(crate) trait Carry: Send {
    /// Begins with `event` if there is one, and polls it. Returns it when it is handled.
    fn carry(
        self: Pin<&mut Self>,
        event: Option<Box<FanOut>>,
        inside: &mut Current,
        cx: &mut Context<'_>,
    ) -> Poll<Box<FanOut>>;
}

pin_project! {
    struct Carrier<B, F> {
        begin: B,
        #[pin]
        future: Option<F>,
    }
}

impl<B, F> Carry for Carrier<B, F>
where
    B: Fn(Box<FanOut>) -> F + Send,
    F: Future<Output = Box<FanOut>> + Send,
{
    #[inline]
    fn carry(
        self: Pin<&mut Self>,
        event: Option<Box<FanOut>>,
        inside: &mut Current,
        cx: &mut Context<'_>,
    ) -> Poll<Box<FanOut>> {
        let mut this = self.project();
        if let Some(event) = event {
            this.future.set(Some((this.begin)(event)));
        }
        let _inside = Swapped::new(inside);
        // When it is ready it holds nothing, and the next event replaces it.
        this.future.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(cx))
    }
}

pub(super) fn carrier() -> Pin<Box<dyn Carry>> {
    Box::pin(Carrier { begin: fan_out, future: None })
}
