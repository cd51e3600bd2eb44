//! Events that a lane gives up: after a time-out, or because no server will come. And memory.

use alloc::vec::Vec;

use super::{LaneQueue, Released, SMALL};
use crate::queue::item::Item;
use crate::queue::trace::{Chain, Entry};

/// What is given up because a call has timed out and has not returned.
pub(crate) struct GivenUp<I, S, H> {
    pub(crate) lost: Vec<I>,
    pub(crate) released: Released<S, H>,
}

/// An event that is taken out unhandled.
pub(crate) struct Abandoned<I, S, H> {
    pub(crate) shared: S,
    pub(crate) item: I,
    pub(crate) answer: Option<H>,
    /// Its failure has been counted already.
    pub(crate) expired: bool,
}

impl<I: Item, S: Clone, H> LaneQueue<I, S, H> {
    /// Whether a new queue is as good as this one.
    pub(crate) fn is_unused(&self) -> bool {
        // A trace without a run is there as long as its server has a key of it.
        let is_empty = self.seats.is_empty() && self.traces.is_empty();
        is_empty && self.open_events() == 0 && !self.stuck && self.refused == 0
    }

    /// The lane is idle: gives back the memory that only a burst needed.
    pub(crate) fn shrink(&mut self) {
        if self.spare.as_ref().is_some_and(|spare| spare.capacity() > SMALL) {
            self.spare = None;
        }
        self.epochs.shrink();
        if self.ready.is_empty() {
            self.ready.shrink_to(SMALL);
        }
    }

    /// A call has timed out and has not returned. Tokens and other events that wait are lost, and
    /// no emitter waits any longer. Starts and ends stay: they are delivered when the call is back.
    pub(crate) fn give_up(&mut self) -> GivenUp<I, S, H> {
        self.stuck = true;
        let mut given_up = GivenUp { lost: Vec::new(), released: Released::default() };
        let holds = &mut given_up.released.holds;
        self.epochs.release_all(holds);
        let queues = self.traces.iter_mut().filter_map(|(_, trace)| trace.queue.as_mut());
        for queue in queues {
            let mut gone = 0;
            for entry in queue.iter_mut() {
                holds.extend(entry.answer.take());
                let Some(run) = self.seats.get_mut(entry.seat as usize) else { continue };
                let Some(item) = &entry.item else { continue };
                if !item.part().counts() {
                    entry.dropped += core::mem::take(&mut run.carried);
                    continue;
                }
                run.load -= 1;
                run.open -= 1;
                run.carried += entry.dropped + u32::from(!entry.expired) * entry.pieces;
                run.chain = Chain::new();
                gone += 1;
                self.epochs.close(entry.epoch, 1, holds);
                if !entry.expired {
                    given_up.lost.extend(entry.item.take());
                }
                entry.item = None;
            }
            queue.count_gone(gone);
        }
        for (_, run) in &mut self.seats {
            holds.extend(run.waiter.take());
        }
        self.after_drops(&mut given_up.released);
        given_up
    }

    /// Lets go of emitters whose time is up while their events are still queued. Their events are
    /// passed to `expired`; tokens and others are dropped, starts and ends stay. Returns when the
    /// next emitter's time is up.
    pub(crate) fn expire(
        &mut self,
        now: u64,
        released: &mut Released<S, H>,
        mut expired: impl FnMut(&S, &I),
    ) -> u64 {
        let mut next = u64::MAX;
        let queues = self.traces.iter_mut().filter_map(|(_, trace)| trace.queue.as_mut());
        for queue in queues {
            let mut gone = 0;
            for entry in queue.iter_mut() {
                let (Some(run), Some(item)) =
                    (self.seats.get_mut(entry.seat as usize), &entry.item)
                else {
                    continue;
                };
                entry.dropped += core::mem::take(&mut run.carried);
                if entry.answer.is_none() || entry.due > now {
                    let due = if entry.answer.is_some() { entry.due } else { u64::MAX };
                    next = next.min(due);
                    continue;
                }
                released.holds.extend(entry.answer.take());
                expired(&run.shared, item);
                entry.expired = true;
                if item.part().counts() {
                    run.load -= 1;
                    run.open -= 1;
                    run.carried += entry.dropped;
                    run.chain = Chain::new();
                    entry.item = None;
                    gone += 1;
                    self.epochs.close(entry.epoch, 1, &mut released.holds);
                }
            }
            queue.count_gone(gone);
        }
        self.after_drops(released);
        next
    }

    /// Events were dropped. Their runs' next events say so, and runs that have no more events go.
    fn after_drops(&mut self, released: &mut Released<S, H>) {
        let mut done = Vec::new();
        for (seat, run) in &mut self.seats {
            run.dropped += core::mem::take(&mut run.carried);
            if run.closing && run.open == 0 {
                done.push(seat);
            }
        }
        done.into_iter().for_each(|seat| self.remove_if_done(seat, released));
    }

    /// Takes all out that waits, or all of one trace: no server will come.
    pub(crate) fn abandon(
        &mut self,
        only: Option<usize>,
        released: &mut Released<S, H>,
    ) -> Vec<Abandoned<I, S, H>> {
        let mut abandoned = Vec::new();
        let keys: Vec<usize> = match only {
            Some(trace) => Vec::from([trace]),
            None => self.traces.iter().map(|(key, _)| key).collect(),
        };
        for key in keys {
            let Some(trace) = self.traces.get_mut(key) else { continue };
            trace.scheduled = false;
            let mut queue = trace.queue.take();
            let waiting = queue.iter_mut().flat_map(|queue| queue.drain());
            let entries: Vec<Entry<I, H>> = waiting.collect();
            self.put_away(queue);
            self.ready.retain(|ready| *ready != key);
            for entry in entries {
                let Some(run) = self.seats.get_mut(entry.seat as usize) else { continue };
                let Some(item) = entry.item else { continue };
                self.epochs.close(entry.epoch, 1, &mut released.holds);
                run.load -= u32::from(item.part().counts());
                run.open -= 1;
                run.chain = Chain::new();
                released.holds.extend(run.waiter.take_if(|_| run.waits_for_room));
                abandoned.push(Abandoned {
                    shared: run.shared.clone(),
                    item,
                    answer: entry.answer,
                    expired: entry.expired,
                });
                self.remove_if_done(entry.seat as usize, released);
            }
            self.remove_trace_if_done(key);
        }
        abandoned
    }
}
