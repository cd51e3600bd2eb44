//! Finding room for an event whose run has as many queued as it may.

use alloc::vec::Vec;

use super::LaneQueue;
use crate::handler::Overflow;
use crate::queue::trace::{Item, Part};

/// How an event found room.
pub(super) struct Found<I> {
    pub(super) item: Option<I>,
    pub(super) evicted: Option<I>,
    pub(super) coalesced: bool,
    /// The event is queued although the queue is full. Its emitter waits for room if it may wait.
    pub(super) waits: bool,
}

impl<I: Item, S: Clone, H> LaneQueue<I, S, H> {
    pub(super) fn is_full(&self, seat: usize, part: Part) -> bool {
        part.counts() && self.seats.get(seat).is_some_and(|run| run.load >= self.limits.capacity)
    }

    /// Makes room for an event that finds its run's queue full, as the overflow says.
    pub(super) fn find_room(
        &mut self,
        seat: usize,
        part: Part,
        waits: bool,
        found: &mut Found<I>,
        released: &mut Vec<H>,
    ) {
        let Some(run) = self.seats.get_mut(seat) else { return };
        let Some(queue) = &mut self.traces[run.trace as usize].queue else { return };
        let token = part == Part::Token;
        let overflow = self.limits.overflow;
        // An emitter that must not wait never loses text that can be joined.
        if token && (overflow == Overflow::Coalesce || (overflow == Overflow::Wait && !waits)) {
            if let Some(item) = found.item.take() {
                match queue.coalesce(&run.chain, item, 1) {
                    Ok(()) => found.coalesced = true,
                    Err(item) => found.item = Some(item),
                }
            }
            if found.coalesced {
                return;
            }
        }
        match overflow {
            Overflow::Coalesce if !token => {
                if let Some(epoch) = queue.coalesce_last(&mut run.chain) {
                    run.load -= 1;
                    run.open -= 1;
                    self.epochs.close(epoch, released);
                    found.coalesced = true;
                } else {
                    found.waits = waits;
                }
            }
            // A text that can be joined to nothing goes in: at most one of each choice.
            Overflow::Coalesce => found.waits = true,
            Overflow::DropOldest | Overflow::DropNewest
                if (token && overflow == Overflow::DropOldest) || (!token && !waits) =>
            {
                if let Some((item, epoch, untold)) = queue.evict(&mut run.chain) {
                    run.load -= 1;
                    run.open -= 1;
                    run.dropped += untold;
                    self.epochs.close(epoch, released);
                    found.evicted = Some(item);
                    let trace = run.trace as usize;
                    self.compact(trace);
                }
            }
            Overflow::DropNewest if token => {}
            _ => found.waits = waits,
        }
    }

    fn compact(&mut self, trace: usize) {
        let Self { traces, seats, .. } = self;
        let queue = traces[trace].queue.as_mut().filter(|queue| queue.is_sparse());
        let Some(queue) = queue else { return };
        queue.compact(|seat, reset| {
            if let Some(run) = seats.get_mut(seat) {
                reset(&mut run.chain);
            }
        });
        for index in 0..queue.len() {
            let seat = queue.seat_at(index).and_then(|seat| seats.get_mut(seat));
            if let Some(run) = seat {
                queue.relink(index, &mut run.chain);
            }
        }
    }
}
