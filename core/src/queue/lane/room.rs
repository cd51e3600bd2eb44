//! Finding room for an event whose run has as many queued as it may.

use alloc::boxed::Box;

use super::{LaneQueue, Lost, Push, Rare};
use crate::handler::Overflow;
use crate::queue::item::{Item, Part};

impl<I: Item, S: Clone, H> LaneQueue<I, S, H> {
    /// Whether an event of the run finds no room. A run that is not there has none.
    #[inline]
    pub(super) fn is_full(&self, seat: usize, part: Part) -> bool {
        let capacity = self.limits.capacity;
        self.seats.get(seat).is_none_or(|run| part.counts() && run.load >= capacity)
    }

    /// Queues an event if room for it can be found, and the handler is not stuck.
    #[cold]
    pub(super) fn push_full(
        &mut self,
        seat: usize,
        (item, part): (I, Part),
        (mut answer, due): (Option<H>, u64),
        wait: Option<impl FnOnce() -> Option<H>>,
    ) -> Push<I, H> {
        let mut rare = Box::<Rare<I, H>>::default();
        let (mut item, mut waits) = (Some(item), false);
        let lost = if self.stuck && part.counts() {
            true
        } else {
            if self.stuck {
                // An end that is kept until the call returns does not hold its emitter up.
                rare.released.extend(answer.take());
            }
            if self.is_full(seat, part) {
                let may_wait = self.limits.waits && (wait.is_some() || answer.is_some());
                waits = self.find_room(seat, part, may_wait, &mut item, &mut rare);
            }
            !rare.coalesced && rare.evicted.is_none() && !waits && self.is_full(seat, part)
        };
        // Without an item, it was joined to an earlier token.
        let Some(item) = item else { return Push { ready: None, rare: Some(rare) } };
        if lost {
            if let Some(run) = self.seats.get_mut(seat) {
                run.dropped += 1;
            }
            rare.lost = Some(Lost { item, answer, stuck: self.stuck });
            return Push { ready: None, rare: Some(rare) };
        }
        let holds = waits && self.limits.waits && answer.is_none();
        let hold = wait.filter(|_| holds).and_then(|wait| wait());
        let ready = self.enqueue(seat, (item, part), (answer, due));
        // Only one emitter waits for room: the run has one event at a time.
        if let (Some(run), Some(hold)) = (self.seats.get_mut(seat), hold) {
            run.waits_for_room = true;
            rare.released.extend(run.waiter.replace(hold));
        }
        Push { ready, rare: Some(rare) }
    }

    /// Makes room for an event that finds its run's queue full, as the overflow says. Takes the
    /// event if it can be joined. Returns whether it is queued although the queue is full; then its
    /// emitter waits for room if it may wait.
    fn find_room(
        &mut self,
        seat: usize,
        part: Part,
        may_wait: bool,
        item: &mut Option<I>,
        rare: &mut Rare<I, H>,
    ) -> bool {
        let Some(run) = self.seats.get_mut(seat) else { return false };
        let Some(queue) = &mut self.traces[run.trace as usize].queue else { return false };
        let token = part == Part::Token;
        let overflow = self.limits.overflow;
        // An emitter that must not wait never loses text that can be joined.
        if token && (overflow == Overflow::Coalesce || (overflow == Overflow::Wait && !may_wait)) {
            *item = item.take().and_then(|item| queue.coalesce(&run.chain, item, 1).err());
            if item.is_none() {
                rare.coalesced = true;
                return false;
            }
        }
        match overflow {
            Overflow::Coalesce if !token => {
                if let Some(epoch) = queue.coalesce_last(&mut run.chain) {
                    run.load -= 1;
                    run.open -= 1;
                    self.epochs.close(epoch, 1, &mut rare.released);
                    rare.coalesced = true;
                    return false;
                }
                may_wait
            }
            // A text that can be joined to nothing goes in: at most one of each choice.
            Overflow::Coalesce => true,
            Overflow::DropOldest | Overflow::DropNewest
                if (token && overflow == Overflow::DropOldest) || (!token && !may_wait) =>
            {
                if let Some((item, epoch, untold)) = queue.evict(&mut run.chain) {
                    run.load -= 1;
                    run.open -= 1;
                    run.dropped += untold;
                    self.epochs.close(epoch, 1, &mut rare.released);
                    rare.evicted = Some(item);
                    let trace = run.trace as usize;
                    self.compact(trace);
                }
                false
            }
            Overflow::DropNewest if token => false,
            _ => may_wait,
        }
    }

    fn compact(&mut self, trace: usize) {
        let Self { traces, seats, .. } = self;
        let queue = traces[trace].queue.as_mut().filter(|queue| queue.is_sparse());
        let Some(queue) = queue else { return };
        queue.compact(|seat, reset| {
            if let Some(run) = seats.get_mut(seat as usize) {
                reset(&mut run.chain);
            }
        });
        for index in 0..queue.len() {
            let seat = queue.seat_at(index).and_then(|seat| seats.get_mut(seat as usize));
            if let Some(run) = seat {
                queue.relink(index, &mut run.chain);
            }
        }
    }
}
