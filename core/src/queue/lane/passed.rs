//! What goes into a lane's queue and comes out of it.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::handler::Overflow;
use crate::queue::Epoch;
use crate::queue::item::Item;
use crate::queue::trace::Entry;

/// The bounds of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Maximum number of queued events per run, not counting its start and end, nor one event
    /// whose emitter waits for room. Also the maximum number of open runs that were started inside
    /// handlers' calls.
    pub(crate) capacity: u32,
    /// Maximum number of open traces.
    pub(crate) open_traces: usize,
    pub(crate) overflow: Overflow,
    /// Whether an emitter may be made to wait for room.
    pub(crate) waits: bool,
}

/// The result of queueing an event.
pub(crate) struct Push<I, H> {
    /// A trace that has no server yet.
    pub(crate) ready: Option<usize>,
    /// What a full queue, or a stuck handler, made of it.
    pub(crate) rare: Option<Box<Rare<I, H>>>,
}

/// What an event did beyond being queued.
pub(crate) struct Rare<I, H> {
    /// A token that was dropped to make room.
    pub(crate) evicted: Option<I>,
    /// The event was joined to an earlier one, or an earlier one was joined to make room.
    pub(crate) coalesced: bool,
    pub(crate) released: Vec<H>,
    /// The event itself, if it is lost.
    pub(crate) lost: Option<Lost<I, H>>,
}

impl<I, H> Default for Rare<I, H> {
    fn default() -> Self {
        Self { evicted: None, coalesced: false, released: Vec::new(), lost: None }
    }
}

/// An event that found no room, or whose handler is stuck.
pub(crate) struct Lost<I, H> {
    pub(crate) item: I,
    pub(crate) answer: Option<H>,
    pub(crate) stuck: bool,
}

/// Events of a trace that were taken to be handled. Its buffers are used again.
pub(crate) struct Batch<I, S, H> {
    pub(super) entries: VecDeque<Entry<I, H>>,
    /// How many of the entries were handed out.
    handed: usize,
    /// What the events of the first event's run share.
    pub(super) first_run: Option<S>,
    /// The same once more for each change of the run, the next one last.
    pub(super) runs: Vec<S>,
    /// The run of the event that was handed out last.
    last: Option<u32>,
    /// Runs that were refused before the first event.
    pub(super) refused: usize,
    /// What [`LaneQueue::finish`](super::LaneQueue::finish) needs of those that were handed out.
    pub(super) tickets: Vec<Ticket>,
}

/// An event that is to be handled.
pub(crate) struct Taken<'a, I, S, H> {
    /// What the run's events share. Absent if it is the same as that of the event before.
    pub(crate) shared: Option<S>,
    pub(crate) item: I,
    pub(crate) refused: usize,
    pub(crate) entry: &'a mut Entry<I, H>,
}

impl<I, S, H> Default for Batch<I, S, H> {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            handed: 0,
            first_run: None,
            runs: Vec::new(),
            last: None,
            refused: 0,
            tickets: Vec::new(),
        }
    }
}

impl<I: Item, S, H> Batch<I, S, H> {
    /// Whether there is no event in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first event, and what its run's events share. Not after [`next`](Self::next).
    pub(crate) fn first(&mut self) -> Option<(&S, &mut Entry<I, H>)> {
        self.first_run.as_ref().zip(self.entries.front_mut())
    }

    /// Hands out the next event. It counts as handled from here on.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Taken<'_, I, S, H>> {
        loop {
            let is_first = self.handed == 0;
            let entry = self.entries.get_mut(self.handed)?;
            self.handed += 1;
            let Some(item) = entry.item.take() else { continue };
            // The first event's call begins at once. The others take up room until they are done.
            let counted = u32::from(!is_first && item.part().counts());
            match self.tickets.last_mut() {
                Some(last) if last.seat == entry.seat && last.epoch == entry.epoch => {
                    last.events += 1;
                    last.counted += counted;
                }
                _ => {
                    let (seat, epoch) = (entry.seat, entry.epoch);
                    self.tickets.push(Ticket { seat, epoch, events: 1, counted });
                }
            }
            let is_same = self.last.replace(entry.seat) == Some(entry.seat);
            let shared = match is_same {
                true => None,
                false => self.first_run.take().or_else(|| self.runs.pop()),
            };
            let refused = core::mem::take(&mut self.refused);
            // Found once more, because the loop may not lend it.
            let entry = self.entries.get_mut(self.handed - 1)?;
            return Some(Taken { shared, item, refused, entry });
        }
    }

    /// Drops what is left of the events that were handed out.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        (self.handed, self.last) = (0, None);
    }
}

/// What a lane lets go of. The caller drops it after it has released its lock.
pub(crate) struct Released<S, H> {
    pub(crate) holds: Vec<H>,
    pub(crate) runs: Vec<S>,
}

impl<S, H> Default for Released<S, H> {
    fn default() -> Self {
        Self { holds: Vec::new(), runs: Vec::new() }
    }
}

/// Events of a run that were handed out.
pub(super) struct Ticket {
    pub(super) seat: u32,
    pub(super) epoch: Epoch,
    pub(super) events: u32,
    /// How many of them still count against the capacity.
    pub(super) counted: u32,
}
