//! What waits for one handler: a queue for each trace, served in turn.

mod passed;
mod room;
#[cfg(test)]
mod tests;
mod unhandled;

use passed::Ticket;
pub(crate) use passed::{Batch, Limits, Lost, Push, Rare, Released, Taken};
pub(crate) use unhandled::Abandoned;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use slab::Slab;

use super::epoch::EpochCounter;
use super::item::{Item, Part};
use super::trace::{Chain, Entry, TraceQueue};

/// `I` is an event, `S` is what the events of a run share, `H` keeps an emitter or a flush waiting.
pub(crate) struct LaneQueue<I, S, H> {
    limits: Limits,
    seats: Slab<Seat<S, H>>,
    traces: Slab<Trace<I, H>>,
    by_id: BTreeMap<usize, u32>,
    /// Traces that have something and are not being served, in the order of their turns.
    ready: VecDeque<usize>,
    /// The queue of a trace that has nothing queued, for the next one. So a trace that is idle
    /// holds none, and an event seldom allocates one.
    spare: Option<Box<TraceQueue<I, H>>>,
    /// Where the next queue begins: after all entries of the queues before it. So a chain never
    /// takes an entry of another queue for its own.
    position: u64,
    epochs: EpochCounter<H>,
    /// Runs that were refused since the last delivery.
    refused: usize,
    /// Open runs that were started inside calls.
    nested: u32,
    /// A call has timed out and has not returned: starts, tokens and others are not taken.
    stuck: bool,
}

/// A run in a lane.
struct Seat<S, H> {
    shared: S,
    /// Its trace's key.
    trace: u32,
    nested: bool,
    /// Queued events that count against the capacity.
    load: u32,
    /// Events that are queued or being handled.
    open: u32,
    chain: Chain,
    /// Events dropped since the run's newest queued event.
    dropped: u32,
    /// Events that were just dropped and that the run's next queued event, if there is one, has to
    /// say.
    carried: u32,
    /// The emitter that waits for room; or that of an end that this handler does not want, which
    /// waits for the events before it. A run has one emitter, so it is one of the two.
    waiter: Option<H>,
    waits_for_room: bool,
    /// Whether the last event has come.
    closing: bool,
}

impl<S, H> Seat<S, H> {
    /// The emitter that waits for room, if there is room.
    fn waiter_for_room(&mut self, capacity: u32) -> Option<H> {
        if self.waits_for_room && self.load <= capacity {
            self.waits_for_room = false;
            return self.waiter.take();
        }
        None
    }
}

struct Trace<I, H> {
    id: usize,
    /// Absent if nothing is queued.
    queue: Option<Box<TraceQueue<I, H>>>,
    seats: u32,
    /// Whether its turn is coming, or it is being served.
    scheduled: bool,
}

/// A lane that is idle keeps a queue of up to this many entries.
const SMALL: usize = 8;

/// Inserts a value. Grows by an eighth, not to the double: what is open may stay open for long.
/// Copying a value eight times is little beside starting a run.
fn insert<T>(slab: &mut Slab<T>, value: T) -> usize {
    if slab.len() == slab.capacity() {
        slab.reserve_exact(slab.len() / 8 + 4);
    }
    slab.insert(value)
}

impl<I: Item, S: Clone, H> LaneQueue<I, S, H> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            seats: Slab::new(),
            traces: Slab::new(),
            by_id: BTreeMap::new(),
            ready: VecDeque::new(),
            spare: None,
            position: 0,
            epochs: EpochCounter::new(),
            refused: 0,
            nested: 0,
            stuck: false,
        }
    }

    /// The number of runs that have a seat.
    pub(crate) fn open_runs(&self) -> usize {
        self.seats.len()
    }

    /// The number of events that are queued or being handled.
    pub(crate) fn open_events(&self) -> usize {
        self.epochs.open_count()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Gives a run a seat. `trace` identifies its trace while that has a seat here. `nested` says
    /// that it was started inside a handler's call. `None` if the run is refused.
    pub(crate) fn admit(&mut self, trace: usize, nested: bool, shared: S) -> Option<usize> {
        let known = self.by_id.get(&trace).map(|key| *key as usize);
        let full = known.is_none() && self.traces.len() >= self.limits.open_traces;
        if self.stuck || full || (nested && self.nested >= self.limits.capacity) {
            self.refused += 1;
            return None;
        }
        let key = known.unwrap_or_else(|| {
            let empty = Trace { id: trace, queue: None, seats: 0, scheduled: false };
            let key = insert(&mut self.traces, empty);
            // More traces than that are not open at a time.
            self.by_id.insert(trace, key as u32);
            key
        });
        self.traces[key].seats += 1;
        self.nested += u32::from(nested);
        let seat = Seat {
            shared,
            // More runs than that are not open at a time.
            trace: key as u32,
            nested,
            load: 0,
            open: 0,
            chain: Chain::new(),
            dropped: 0,
            carried: 0,
            waiter: None,
            waits_for_room: false,
            closing: false,
        };
        Some(insert(&mut self.seats, seat))
    }

    /// Queues an event of an admitted run. `answer` keeps its emitter waiting for the answer until
    /// `due`. `wait` makes the emitter wait for room; it is absent if the emitter must not wait.
    #[inline]
    pub(crate) fn push(
        &mut self,
        seat: usize,
        (item, part): (I, Part),
        answer: (Option<H>, u64),
        wait: Option<impl FnOnce() -> Option<H>>,
    ) -> Push<I, H> {
        if self.stuck || self.is_full(seat, part) {
            return self.push_full(seat, (item, part), answer, wait);
        }
        Push { ready: self.enqueue(seat, (item, part), answer), rare: None }
    }

    /// Queues an event. Returns its trace if that has no server yet.
    #[inline]
    fn enqueue(
        &mut self,
        seat: usize,
        (item, part): (I, Part),
        answer: (Option<H>, u64),
    ) -> Option<usize> {
        let run = self.seats.get_mut(seat)?;
        let trace = self.traces.get_mut(run.trace as usize)?;
        run.closing |= part.is_last();
        run.load += u32::from(part.counts());
        run.open += 1;
        let dropped = core::mem::take(&mut run.dropped);
        let begin = || TraceQueue::begin(self.spare.take(), self.position);
        let queue = trace.queue.get_or_insert_with(begin);
        let entry = Entry::new(seat, item, answer, self.epochs.open(), dropped);
        queue.push(&mut run.chain, part, entry);
        if core::mem::replace(&mut trace.scheduled, true) {
            return None;
        }
        Some(run.trace as usize)
    }

    /// Puts a trace that has no server into the line of those whose turn comes.
    pub(crate) fn schedule(&mut self, trace: usize) {
        self.ready.push_back(trace);
    }

    /// The trace whose turn it is. It counts as being served until [`finish`](Self::finish).
    pub(crate) fn next_trace(&mut self) -> Option<usize> {
        self.ready.pop_front()
    }

    /// Takes up to `most` events of a trace that is being served. A whole block of one run's events
    /// costs no more than a single event.
    pub(crate) fn take(
        &mut self,
        trace: usize,
        most: usize,
        batch: &mut Batch<I, S, H>,
        released: &mut Vec<H>,
    ) {
        let Some(Trace { queue: Some(queue), .. }) = self.traces.get_mut(trace) else { return };
        let mixed = queue.is_mixed();
        // A whole block may have been dropped.
        while batch.entries.is_empty() && !queue.is_empty() {
            // The queue keeps its memory if there is little in it.
            if (SMALL + 1..=most).contains(&queue.block_len()) {
                queue.pass_block(&mut batch.entries);
            } else {
                for _ in 0..most {
                    let Some(entry) = queue.pop() else { break };
                    if let Some(run) = self.seats.get_mut(entry.seat as usize) {
                        queue.unlink_first(&mut run.chain, &entry);
                    }
                    batch.entries.push_back(entry);
                }
            }
            while batch.entries.front().is_some_and(|first| first.item.is_none()) {
                batch.entries.pop_front();
            }
        }
        let Some(first) = batch.entries.front() else { return };
        batch.refused = core::mem::take(&mut self.refused);
        if let (Some(run), Some(item)) = (self.seats.get_mut(first.seat as usize), &first.item) {
            // The first event's call begins at once. The others still take up room until then.
            if item.part().counts() {
                run.load -= 1;
                released.extend(run.waiter_for_room(self.limits.capacity));
            }
            batch.first_run = Some(run.shared.clone());
        }
        if mixed {
            let mut last = first.seat;
            let entries = batch.entries.iter().filter(|entry| entry.item.is_some());
            for seat in entries.map(|entry| entry.seat) {
                if core::mem::replace(&mut last, seat) != seat {
                    let run = self.seats.get(seat as usize);
                    batch.runs.extend(run.map(|run| run.shared.clone()));
                }
            }
            batch.runs.reverse();
        }
    }

    /// Events that were handed out have been handled.
    pub(crate) fn finish(&mut self, batch: &mut Batch<I, S, H>, released: &mut Released<S, H>) {
        self.stuck = false;
        for Ticket { seat, epoch, events, counted } in batch.tickets.drain(..) {
            self.epochs.close(epoch, events as usize, &mut released.holds);
            let Some(run) = self.seats.get_mut(seat as usize) else { continue };
            run.load -= counted;
            run.open -= events;
            released.holds.extend(run.waiter_for_room(self.limits.capacity));
            self.remove_if_done(seat as usize, released);
        }
    }

    /// A trace's turn is over. Whether it has more; then the caller serves it again or schedules
    /// it.
    pub(crate) fn end_turn(&mut self, trace: usize) -> bool {
        let Some(served) = self.traces.get_mut(trace) else { return false };
        if served.queue.as_ref().is_some_and(|queue| !queue.is_empty()) {
            return true;
        }
        served.scheduled = false;
        let queue = served.queue.take();
        self.put_away(queue);
        self.remove_trace_if_done(trace);
        false
    }

    /// A queue in which nothing waits is kept for the next trace, unless a larger one is.
    fn put_away(&mut self, queue: Option<Box<TraceQueue<I, H>>>) {
        let Some(mut queue) = queue else { return };
        self.position = self.position.max(queue.end());
        if self.spare.as_ref().is_none_or(|spare| spare.capacity() < queue.capacity()) {
            self.spare = Some(queue);
        }
    }

    /// No more events of a run will come. `hold` is kept until those that have come are handled.
    pub(crate) fn leave(&mut self, seat: usize, hold: Option<H>, released: &mut Released<S, H>) {
        match self.seats.get_mut(seat) {
            Some(run) => {
                run.closing = true;
                run.waits_for_room = false;
                released.holds.extend(core::mem::replace(&mut run.waiter, hold));
                self.remove_if_done(seat, released);
            }
            None => released.holds.extend(hold),
        }
    }

    fn remove_if_done(&mut self, seat: usize, released: &mut Released<S, H>) {
        if !self.seats.get(seat).is_some_and(|run| run.closing && run.open == 0) {
            return;
        }
        let run = self.seats.remove(seat);
        self.nested -= u32::from(run.nested);
        released.holds.extend(run.waiter);
        released.runs.push(run.shared);
        let trace = run.trace as usize;
        if let Some(trace) = self.traces.get_mut(trace) {
            trace.seats -= 1;
        }
        self.remove_trace_if_done(trace);
    }

    fn remove_trace_if_done(&mut self, trace: usize) {
        let done = |trace: &Trace<I, H>| trace.seats == 0 && !trace.scheduled;
        if self.traces.get(trace).is_some_and(done) {
            let trace = self.traces.remove(trace);
            self.by_id.remove(&trace.id);
        }
    }

    /// Keeps `guard` until all events that are queued or being handled now are handled. Returns it
    /// if there are none.
    pub(crate) fn flush(&mut self, guard: H) -> Option<H> {
        // A flush does not wait for a call that has timed out, nor for what is kept behind it.
        if self.stuck { Some(guard) } else { self.epochs.flush(guard) }
    }

    /// Keeps `guard` until nothing is queued and no call is out. Returns it if that is so now.
    pub(crate) fn drain(&mut self, guard: H) -> Option<H> {
        self.epochs.drain(guard)
    }
}
