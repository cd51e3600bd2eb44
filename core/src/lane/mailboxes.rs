//! What waits for one handler: a bounded mailbox for each run, and the runs that have something, served in turn.
//!
//! This is bookkeeping, and nothing else: it takes no lock, calls nobody, and drops nothing that it was given. Whatever is to be let go of comes back
//! to the caller, who does that once the lane's lock is free.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use slab::Slab;

/// What lies in a mailbox.
pub(crate) trait Item: Sized {
    /// Keeps an emitter waiting until it is dropped.
    type Hold;

    /// What it is to its run.
    fn part(&self) -> Part;

    /// Makes its emitter wait until what comes back is dropped.
    fn hold_emitter(&self) -> Self::Hold;

    /// Tells the run that it has mailbox `key` from now on.
    fn admitted(&self, key: usize);

    /// Tells the run that the handler will hear nothing of it.
    fn refused(&self);

    /// Takes in a newer token of the same run, which comes back emptied; or comes back as it was, if they are not of one text.
    fn absorb(&mut self, newer: Self) -> Result<Self, Self>;
}

/// An event's part in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// A run's first event for the handler, if it is a start: it takes the room of the end with it.
    Start,
    /// What may be put together or dropped.
    Token,
    /// What may not.
    Other,
    /// A run's last event.
    End,
    /// An event without a run: first and last in one.
    Only,
}

/// What becomes of a run's tokens that find its mailbox full.
///
/// Only the run's own tokens are concerned: starts and ends always have room, and other runs have mailboxes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// The emitter waits until there is room. Nothing is lost.
    Wait,
    /// Tokens that lie side by side become one, if they are of the same choice: no text is lost, and there are fewer calls. A joined token has the number
    /// and the time of its first piece. Where the handler is in the background, and joining makes no room, the event is dropped if it is not a token;
    /// a token goes in all the same, at most one of each choice.
    Coalesce,
    /// The oldest token in the mailbox goes.
    DropOldest,
    /// The token goes.
    DropNewest,
}

/// The bounds of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many events of a run wait at most, beside its start, its end, and one whose emitter waits for room.
    pub(crate) capacity: usize,
    /// How many runs have a mailbox at most.
    pub(crate) open_runs: usize,
    pub(crate) overflow: Overflow,
    /// Whether an emitter may be made to wait for room, where the overflow does not say what else to do.
    pub(crate) waits: bool,
    /// Whether a run that finds no mailbox is refused, instead of waiting for one.
    pub(crate) refuses: bool,
    /// Whether one call goes on at a time, or one for each run.
    pub(crate) serial: bool,
}

pub(crate) struct Mailboxes<I: Item> {
    limits: Limits,
    runs: Slab<Mailbox<I>>,
    /// The runs whose turn comes, of a serial lane. Each is in here once at most.
    ready: VecDeque<usize>,
    /// First events that wait for another run to end, and their emitters with them: what comes after is to find a mailbox.
    parked: Option<Box<Parked<I>>>,
    /// Runs that were refused since the last call. Small, as every idle handler has it.
    refused: u32,
    /// A call has been out for too long: nothing comes in until it is back.
    stuck: bool,
}

type Parked<I> = VecDeque<(I, <I as Item>::Hold)>;

struct Mailbox<I: Item> {
    queue: VecDeque<Entry<I>>,
    /// How many of them count against the capacity.
    load: usize,
    /// The event that is being handled.
    running: Option<I>,
    /// Whether a call of this run is out; also one that has been given up on.
    out: bool,
    /// Whether its turn is coming, or somebody is on the way to serve it.
    listed: bool,
    /// Whether the last event is in, or none will come.
    closing: bool,
    /// Events dropped since the newest in the queue.
    dropped: usize,
    /// The emitter that waits for room.
    over: Option<I::Hold>,
    /// The emitter that waits until all is handled.
    last: Option<I::Hold>,
}

struct Entry<I> {
    item: I,
    /// How many events it is: more than one where tokens were joined.
    pieces: usize,
    /// Events dropped right before it.
    dropped: usize,
}

/// What a handler did not get, before the event that tells it so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// Events of this run that were dropped, for want of room or because the handler was busy, since the handler's last event of this run.
    pub dropped: usize,
    /// Whole runs that were refused since the handler's last event of any run.
    pub refused_runs: usize,
}

impl Losses {
    /// Whether nothing was lost.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.dropped == 0 && self.refused_runs == 0
    }
}

/// What became of an event that was brought.
pub(crate) enum Brought<I: Item> {
    /// It waits for its turn.
    Queued {
        /// Whom somebody has to serve now: the lane if it is serial, else that run.
        serve: Option<usize>,
        /// An older token that had to go.
        displaced: Option<I>,
        /// Tokens that went into older ones, and are empty.
        joined: Vec<I>,
    },
    /// It went into an older one, and is empty.
    Joined(I),
    /// It waits for another run to end.
    Parked,
    /// It is dropped for want of room.
    Dropped(I),
    /// Its whole run is, for want of a mailbox.
    Refused(I),
    /// It would have to wait for room, and must not.
    NoRoom(I),
    /// Nothing comes in now.
    Busy(I),
    /// The handler hears nothing of its run any more.
    TooLate(I),
}

/// An event whose turn has come.
pub(crate) struct Turn<I: Item> {
    pub(crate) key: usize,
    pub(crate) losses: Losses,
    /// An emitter that there is room for now.
    pub(crate) freed: Option<I::Hold>,
}

/// What a call leaves when it is over.
pub(crate) struct Over<I: Item> {
    /// What was handled; absent if it was given up on meanwhile.
    pub(crate) item: Option<I>,
    /// Whether the run has more, and its turn comes again.
    pub(crate) again: bool,
    /// Whom somebody has to serve now, beside whoever asks: runs that were let in.
    pub(crate) serve: Vec<usize>,
    /// Emitters that need not wait any longer.
    pub(crate) freed: Vec<I::Hold>,
}

impl<I: Item> Mailbox<I> {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            load: 0,
            running: None,
            out: false,
            listed: false,
            closing: false,
            dropped: 0,
            over: None,
            last: None,
        }
    }

    fn push(&mut self, item: I) {
        if counts(item.part()) {
            self.load += 1;
        }
        let dropped = core::mem::take(&mut self.dropped);
        self.queue.push_back(Entry { item, pieces: 1, dropped });
    }

    fn pop(&mut self) -> Option<Entry<I>> {
        let entry = self.queue.pop_front()?;
        if counts(entry.item.part()) {
            self.load -= 1;
        }
        Some(entry)
    }

    /// Joins a token to the newest one of its text, if only tokens came after that.
    fn join(&mut self, mut token: I, pieces: usize) -> Result<I, I> {
        for entry in self.queue.iter_mut().rev() {
            if entry.item.part() != Part::Token {
                break;
            }
            match entry.item.absorb(token) {
                Ok(emptied) => {
                    entry.pieces += pieces;
                    return Ok(emptied);
                }
                Err(same) => token = same,
            }
        }
        Err(token)
    }

    /// Joins all tokens that lie side by side and are of one text. Gives those that are empty now.
    fn join_all(&mut self) -> Vec<I> {
        let mut joined = Vec::new();
        for Entry { item, pieces, dropped } in core::mem::take(&mut self.queue) {
            let after_token = item.part() == Part::Token && self.queue.back().is_some_and(|entry| entry.item.part() == Part::Token);
            let unjoined = match after_token {
                true => self.join(item, pieces),
                false => Err(item),
            };
            match unjoined {
                Ok(emptied) => {
                    self.load -= 1;
                    joined.push(emptied);
                    if let Some(last) = self.queue.back_mut() {
                        last.dropped += dropped;
                    }
                }
                Err(item) => self.queue.push_back(Entry { item, pieces, dropped }),
            }
        }
        joined
    }

    /// Takes the oldest token out; whoever comes after it is told.
    fn evict(&mut self) -> Option<I> {
        let index = self.queue.iter().position(|entry| entry.item.part() == Part::Token)?;
        let entry = self.queue.remove(index)?;
        self.load -= 1;
        let dropped = match self.queue.get_mut(index) {
            Some(next) => &mut next.dropped,
            None => &mut self.dropped,
        };
        *dropped += entry.dropped + 1;
        Some(entry.item)
    }

    /// Takes all out that waits. Gives whether the run's start was among it: then the handler hears nothing of the run.
    fn clear(&mut self, given_up: &mut GivenUp<I>) -> bool {
        self.listed = false;
        self.load = 0;
        given_up.freed.extend(self.over.take());
        given_up.freed.extend(self.last.take());
        let mut start = false;
        for Entry { item, pieces, dropped } in self.queue.drain(..) {
            self.dropped += dropped + pieces;
            if item.part() == Part::Start {
                item.refused();
                start = true;
            }
            given_up.waiting.push(item);
        }
        self.closing |= start;
        start
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.out
    }
}

/// Whether an event counts against the capacity: starts and ends have room of their own.
fn counts(part: Part) -> bool {
    matches!(part, Part::Token | Part::Other)
}

impl<I: Item> Mailboxes<I> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            runs: Slab::new(),
            ready: VecDeque::new(),
            parked: None,
            refused: 0,
            stuck: false,
        }
    }

    /// How many runs have a mailbox.
    pub(crate) fn open_runs(&self) -> usize {
        self.runs.len()
    }

    /// Brings a run's first event.
    ///
    /// `may_wait`: whether it may wait for another run to end; `inside`: whether it is inside an open run, for which others may be waiting.
    pub(crate) fn bring_first(&mut self, item: I, may_wait: bool, inside: impl FnOnce() -> bool) -> Brought<I> {
        if self.stuck {
            self.refuse_start(&item);
            Brought::Busy(item)
        } else if self.runs.len() < self.limits.open_runs {
            self.admit(item)
        } else if self.limits.refuses {
            item.refused();
            self.refused = self.refused.saturating_add(1);
            Brought::Refused(item)
        } else if !matches!(item.part(), Part::Start | Part::Only) || inside() {
            // A run that has started may keep others waiting, and must not wait for them.
            self.admit(item)
        } else if may_wait {
            let hold = item.hold_emitter();
            self.parked.get_or_insert_default().push_back((item, hold));
            Brought::Parked
        } else {
            self.refuse_start(&item);
            Brought::NoRoom(item)
        }
    }

    /// A handler that does not hear of a run's start hears nothing of it. (One that wants no starts may still hear of what comes later.)
    fn refuse_start(&mut self, item: &I) {
        if item.part() == Part::Start {
            item.refused();
            self.refused = self.refused.saturating_add(1);
        }
    }

    fn admit(&mut self, item: I) -> Brought<I> {
        let key = self.runs.insert(Mailbox::new());
        item.admitted(key);
        self.queue(key, item)
    }

    fn queue(&mut self, key: usize, item: I) -> Brought<I> {
        let Some(mailbox) = self.runs.get_mut(key) else {
            return Brought::Dropped(item);
        };
        mailbox.closing |= matches!(item.part(), Part::End | Part::Only);
        mailbox.push(item);
        Brought::Queued {
            serve: self.list(key),
            displaced: None,
            joined: Vec::new(),
        }
    }

    /// Brings a later event of the run with mailbox `key`.
    pub(crate) fn bring(&mut self, key: usize, item: I, may_wait: bool) -> Brought<I> {
        let limits = self.limits;
        let part = item.part();
        let Some(mailbox) = self.runs.get_mut(key) else {
            debug_assert!(false, "a run keeps its mailbox until its end");
            return Brought::Dropped(item);
        };
        if self.stuck {
            mailbox.dropped += 1;
            return Brought::Busy(item);
        }
        if !counts(part) || mailbox.load < limits.capacity {
            return self.queue(key, item);
        }
        match limits.overflow {
            Overflow::Coalesce => self.coalesce(key, item, may_wait),
            Overflow::DropNewest if part == Part::Token => {
                mailbox.dropped += 1;
                Brought::Dropped(item)
            }
            // Only tokens are dropped, or make room; where others may wait, they do.
            Overflow::DropOldest | Overflow::DropNewest if part == Part::Token || !limits.waits => self.displace(key, item),
            _ => self.wait_for_room(key, item, may_wait),
        }
    }

    /// Finds room by joining tokens, of which none is lost.
    fn coalesce(&mut self, key: usize, item: I, may_wait: bool) -> Brought<I> {
        let token = item.part() == Part::Token;
        let Some(mailbox) = self.runs.get_mut(key) else {
            return Brought::Dropped(item);
        };
        let unjoined = if token { mailbox.join(item, 1) } else { Err(item) };
        let item = match unjoined {
            Ok(emptied) => return Brought::Joined(emptied),
            Err(item) => item,
        };
        let emptied = mailbox.join_all();
        if emptied.is_empty() && self.limits.waits {
            return self.wait_for_room(key, item, may_wait);
        }
        if emptied.is_empty() && !token {
            mailbox.dropped += 1;
            return Brought::Dropped(item);
        }
        mailbox.push(item);
        Brought::Queued {
            serve: self.list(key),
            displaced: None,
            joined: emptied,
        }
    }

    /// Takes the oldest token out to make room.
    fn displace(&mut self, key: usize, item: I) -> Brought<I> {
        let Some(mailbox) = self.runs.get_mut(key) else {
            return Brought::Dropped(item);
        };
        let Some(displaced) = mailbox.evict() else {
            mailbox.dropped += 1;
            return Brought::Dropped(item);
        };
        mailbox.push(item);
        Brought::Queued {
            serve: self.list(key),
            displaced: Some(displaced),
            joined: Vec::new(),
        }
    }

    /// It goes in all the same, so that nothing is lost if the emitter goes away; but that waits until there is room. So there is one of these at most.
    fn wait_for_room(&mut self, key: usize, item: I, may_wait: bool) -> Brought<I> {
        let Some(mailbox) = self.runs.get_mut(key) else {
            return Brought::Dropped(item);
        };
        if !may_wait {
            mailbox.dropped += 1;
            return Brought::NoRoom(item);
        }
        mailbox.over = Some(item.hold_emitter());
        self.queue(key, item)
    }

    /// Has a run's turn come, if it has something and is not being served. Gives whom somebody has to serve now.
    fn list(&mut self, key: usize) -> Option<usize> {
        let mailbox = self.runs.get_mut(key)?;
        if mailbox.listed || mailbox.out || mailbox.queue.is_empty() {
            return None;
        }
        mailbox.listed = true;
        if self.limits.serial {
            self.ready.push_back(key);
        }
        Some(key)
    }

    /// Whether some run's turn has come.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next event of whichever run's turn it is.
    pub(crate) fn take_next(&mut self) -> Option<Turn<I>> {
        let key = self.ready.pop_front()?;
        self.take(key)
    }

    /// The next event of that run.
    pub(crate) fn take(&mut self, key: usize) -> Option<Turn<I>> {
        let mailbox = self.runs.get_mut(key).filter(|mailbox| !mailbox.out)?;
        mailbox.listed = false;
        let entry = mailbox.pop()?;
        mailbox.running = Some(entry.item);
        mailbox.out = true;
        let freed = if mailbox.load <= self.limits.capacity {
            mailbox.over.take()
        } else {
            None
        };
        let losses = Losses {
            dropped: entry.dropped,
            refused_runs: core::mem::take(&mut self.refused) as usize,
        };
        Some(Turn { key, losses, freed })
    }

    /// The event that is being handled.
    pub(crate) fn running(&mut self, key: usize) -> Option<&mut I> {
        self.runs.get_mut(key)?.running.as_mut()
    }

    /// The call for that run is over.
    pub(crate) fn finish(&mut self, key: usize) -> Over<I> {
        let mut over = Over {
            item: None,
            again: false,
            serve: Vec::new(),
            freed: Vec::new(),
        };
        self.stuck = false;
        let Some(mailbox) = self.runs.get_mut(key) else { return over };
        over.item = mailbox.running.take();
        mailbox.out = false;
        if !mailbox.queue.is_empty() {
            over.again = self.list(key).is_some();
            return over;
        }
        if over.item.as_ref().is_some_and(|item| item.part() == Part::Start) {
            // It may be a while until the next one comes, and some runs wait for a long time.
            mailbox.queue.shrink_to_fit();
        }
        self.remove_if_done(key, &mut over);
        over
    }

    /// No more events of that run will come; `hold` is kept until those that have come are handled.
    pub(crate) fn retire(&mut self, key: usize, hold: Option<I::Hold>) -> Over<I> {
        let mut over = Over {
            item: None,
            again: false,
            serve: Vec::new(),
            freed: Vec::new(),
        };
        match self.runs.get_mut(key) {
            Some(mailbox) => {
                mailbox.closing = true;
                mailbox.last = hold;
            }
            None => over.freed.extend(hold),
        }
        self.remove_if_done(key, &mut over);
        over
    }

    fn remove_if_done(&mut self, key: usize, over: &mut Over<I>) {
        if !self.runs.get(key).is_some_and(|mailbox| mailbox.closing && mailbox.is_idle()) {
            return;
        }
        let mailbox = self.runs.remove(key);
        over.freed.extend(mailbox.over);
        over.freed.extend(mailbox.last);
        while self.runs.len() < self.limits.open_runs {
            let parked = self.parked.as_mut().and_then(|parked| parked.pop_front());
            let Some((first, hold)) = parked else { return };
            over.freed.push(hold);
            if let Brought::Queued { serve: Some(key), .. } = self.admit(first) {
                over.serve.push(key);
            }
        }
    }

    /// The call for that run has been out for too long: gives it up, and all that waits behind it; nothing comes in until it is back.
    pub(crate) fn give_up(&mut self, key: usize) -> GivenUp<I> {
        let mut given_up = GivenUp::new(self.runs.get_mut(key).and_then(|mailbox| mailbox.running.take()));
        self.stuck = given_up.running.is_some();
        if self.stuck {
            self.clear(&mut given_up);
        }
        given_up
    }

    /// Takes out all that waits: nobody will ever serve it.
    pub(crate) fn abandon(&mut self) -> GivenUp<I> {
        let mut given_up = GivenUp::new(None);
        self.clear(&mut given_up);
        given_up
    }

    fn clear(&mut self, given_up: &mut GivenUp<I>) {
        self.ready.clear();
        for (_, mailbox) in &mut self.runs {
            self.refused = self.refused.saturating_add(mailbox.clear(given_up).into());
        }
        self.clear_parked(given_up);
        self.runs.retain(|_, mailbox| !(mailbox.closing && mailbox.is_idle()));
    }

    fn clear_parked(&mut self, given_up: &mut GivenUp<I>) {
        for (first, hold) in self.parked.take().into_iter().flat_map(|parked| *parked) {
            given_up.freed.push(hold);
            if first.part() == Part::Start {
                first.refused();
                self.refused = self.refused.saturating_add(1);
            }
            given_up.waiting.push(first);
        }
    }

    /// Takes out all that waits of one run, and what was running of it: its server is gone.
    pub(crate) fn abandon_run(&mut self, key: usize) -> GivenUp<I> {
        let mut given_up = GivenUp::new(None);
        let Some(mailbox) = self.runs.get_mut(key) else { return given_up };
        mailbox.out = false;
        given_up.running = mailbox.running.take();
        self.refused = self.refused.saturating_add(mailbox.clear(&mut given_up).into());
        if mailbox.closing {
            self.runs.remove(key);
        }
        // No server will come for those either.
        self.clear_parked(&mut given_up);
        given_up
    }
}

/// What was given up, to be let go of outside the lane's lock.
pub(crate) struct GivenUp<I: Item> {
    pub(crate) running: Option<I>,
    pub(crate) waiting: Vec<I>,
    pub(crate) freed: Vec<I::Hold>,
}

impl<I: Item> GivenUp<I> {
    fn new(running: Option<I>) -> Self {
        Self {
            running,
            waiting: Vec::new(),
            freed: Vec::new(),
        }
    }
}
