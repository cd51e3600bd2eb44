//! What a worker knows of a partition: which traces are open, which are done, and how far the group
//! is. A state machine without time, threads or a connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rappel_core::RunId;

use super::trace::{Fit, Item, Trace, Why, begins_again};
use crate::broker::{Begun, Commit, Done, Ending, Taken};
use crate::entry::Read;
use crate::id::StreamId;

/// Traces that are done and whole are remembered, so that records that come again are skipped.
const REMEMBERED: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Books {
    max_open: usize,
    /// Entries up to here were taken.
    pub(crate) cursor: StreamId,
    /// Entries up to here were taken before, maybe more than once.
    highest: StreamId,
    traces: BTreeMap<RunId, Trace>,
    by_first: BTreeMap<StreamId, RunId>,
    ready: VecDeque<RunId>,
    done: BTreeMap<RunId, DoneTrace>,
    /// Done traces that the broker knows, or has to be told of, by their last entries: those that
    /// were whole, and those that were closed.
    above: BTreeMap<StreamId, RunId>,
    closed: BTreeMap<StreamId, RunId>,
    /// Done traces that only this process knows, oldest first.
    remembered: VecDeque<(RunId, StreamId)>,
    uncommitted: BTreeSet<RunId>,
    clear: Vec<RunId>,
    /// The first entry of a trace that had no room.
    deferred: Option<StreamId>,
    without_room: BTreeSet<RunId>,
    committed: StreamId,
    /// How often a trace was begun again in this epoch.
    again: BTreeMap<RunId, u32>,
    queued: usize,
}

#[derive(Debug)]
struct DoneTrace {
    done: Done,
    firsts: Vec<RunId>,
}

/// What was done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Took {
    /// It is queued, or makes its trace incomplete.
    Kept,
    /// It was handled, or taken, before.
    Before,
    Repeated,
    /// Its trace was closed before.
    Late,
    /// There is no room for its trace.
    Deferred,
    /// Its trace begins in the middle. Nothing of it is handed out.
    Headless,
}

impl Books {
    pub(crate) fn new(taken: &Taken, max_open: usize) -> Self {
        let known =
            |(root, done): &(RunId, Done)| (*root, DoneTrace { done: *done, firsts: Vec::new() });
        let by_end = |whole: bool| {
            let ends = taken.done.iter().filter(|(_, done)| (done.how == Ending::Whole) == whole);
            ends.map(|(root, done)| (done.through, *root)).collect()
        };
        Self {
            max_open: max_open.max(1),
            cursor: taken.position,
            highest: taken.position,
            traces: BTreeMap::new(),
            by_first: BTreeMap::new(),
            ready: VecDeque::new(),
            done: taken.done.iter().map(known).collect(),
            above: by_end(true),
            closed: by_end(false),
            remembered: VecDeque::new(),
            uncommitted: BTreeSet::new(),
            clear: Vec::new(),
            deferred: None,
            without_room: BTreeSet::new(),
            committed: taken.position,
            again: BTreeMap::new(),
            queued: 0,
        }
    }

    /// Takes an entry. `None` for one that cannot be read, but for its root.
    pub(crate) fn take(&mut self, id: StreamId, root: RunId, read: Option<Read>) -> Took {
        let is_new = id > self.highest;
        self.cursor = id;
        self.highest = self.highest.max(id);
        let counted = |took| if is_new { took } else { Took::Before };
        if let Some(known) = self.done.get(&root) {
            match known.done.how {
                _ if id <= known.done.through => return Took::Before,
                Ending::Closed | Ending::Dead => return counted(Took::Late),
                Ending::Whole => {
                    let open = self.traces.contains_key(&root);
                    let begins =
                        read.as_ref().is_some_and(|read| begins_again(read, &known.firsts));
                    if !open && !begins {
                        return counted(Took::Repeated);
                    }
                }
            }
        }
        if self.without_room.contains(&root) {
            return Took::Deferred;
        }
        if !self.traces.contains_key(&root) {
            if self.traces.len() >= self.max_open {
                self.deferred.get_or_insert(id);
                self.without_room.insert(root);
                return Took::Deferred;
            }
            self.traces.insert(root, Trace::new(id));
            self.by_first.insert(id, root);
        }
        let Some(trace) = self.traces.get_mut(&root) else { return Took::Before };
        if id <= trace.last {
            return Took::Before;
        }
        trace.last = id;
        if trace.closing.is_some() {
            return counted(Took::Late);
        }
        let is_first = trace.first == id;
        let item = match read.map(|read| (trace.fit(&read), read.record)) {
            Some((Fit::Repeated, _)) => return counted(Took::Repeated),
            Some((Fit::Next, Some(record))) => Item::Record(record),
            _ if is_first => {
                self.finish(root, Ending::Closed);
                return Took::Headless;
            }
            // A gap, a mark of its publisher, or an unreadable record.
            _ => Item::Close(Why::Incomplete),
        };
        self.push(root, item);
        Took::Kept
    }

    /// Whether an entry was taken before.
    pub(crate) fn was_taken(&self, id: StreamId) -> bool {
        id <= self.highest
    }

    /// Passes over an entry of no trace.
    pub(crate) fn skip(&mut self, id: StreamId) {
        self.cursor = id;
        self.highest = self.highest.max(id);
    }

    /// Whether further records of a trace go to the dead letters.
    pub(crate) fn is_dead(&self, root: RunId) -> bool {
        self.done.get(&root).is_some_and(|known| known.done.how == Ending::Dead)
    }

    fn push(&mut self, root: RunId, item: Item) {
        let Some(trace) = self.traces.get_mut(&root) else { return };
        if let Item::Close(why) = &item {
            trace.closing = Some(*why);
        }
        trace.queue.push_back(item);
        self.queued += 1;
        self.make_ready(root);
    }

    fn make_ready(&mut self, root: RunId) {
        let Some(trace) = self.traces.get_mut(&root) else { return };
        if !trace.busy && !trace.is_ready && !trace.queue.is_empty() {
            trace.is_ready = true;
            match trace.suspect {
                true => self.ready.push_front(root),
                false => self.ready.push_back(root),
            }
        }
    }

    /// Closes an open trace after what is queued.
    pub(crate) fn close(&mut self, root: RunId, why: Why) {
        if self.traces.get(&root).is_some_and(|trace| trace.closing.is_none()) {
            self.push(root, Item::Close(why));
        }
    }

    /// Picks traces with something to do, at most `room`. A suspect is picked only if nothing else is.
    pub(crate) fn pick(&mut self, busy: usize, room: usize) -> Vec<RunId> {
        let mut picked = Vec::new();
        while picked.len() < room {
            let Some(root) = self.ready.front().copied() else { break };
            let suspect = self.traces.get(&root).is_some_and(|trace| trace.suspect);
            if suspect && (busy > 0 || !picked.is_empty()) {
                break;
            }
            self.ready.pop_front();
            let Some(trace) = self.traces.get_mut(&root) else { continue };
            trace.is_ready = false;
            if !trace.busy && !trace.queue.is_empty() {
                picked.push(root);
            }
            if suspect {
                break;
            }
        }
        picked
    }

    /// Puts a picked trace back, in front.
    pub(crate) fn put_back(&mut self, root: RunId) {
        let Some(trace) = self.traces.get_mut(&root) else { return };
        if !trace.is_ready {
            trace.is_ready = true;
            self.ready.push_front(root);
        }
    }

    /// Makes a trace busy, and returns what is to be done for it.
    pub(crate) fn start(&mut self, root: RunId) -> Vec<Item> {
        let Some(trace) = self.traces.get_mut(&root) else { return Vec::new() };
        trace.busy = true;
        let items: Vec<_> = trace.queue.drain(..).collect();
        self.queued -= items.len();
        items
    }

    /// The calls that were started are done, apart from `rest`. Returns whether the trace is over.
    pub(crate) fn handled(&mut self, root: RunId, rest: Vec<Item>) -> bool {
        let Some(trace) = self.traces.get_mut(&root) else { return false };
        trace.busy = false;
        self.queued += rest.len();
        rest.into_iter().rev().for_each(|item| trace.queue.push_front(item));
        if trace.suspect && trace.queue.is_empty() {
            trace.suspect = false;
            self.clear.push(root);
        }
        let over = trace.is_over();
        self.make_ready(root);
        over
    }

    /// Whether an open trace is handled to its end.
    pub(crate) fn is_over(&self, root: RunId) -> bool {
        self.traces.get(&root).is_some_and(Trace::is_over)
    }

    /// Begins a trace again, from its first record. `false` if it was begun `most` times before.
    pub(crate) fn begin_again(&mut self, root: RunId, most: u32) -> bool {
        let again = self.again.entry(root).or_default();
        if *again >= most {
            return false;
        }
        *again += 1;
        if let Some(trace) = self.remove(root) {
            self.cursor = self.cursor.min(trace.first.before());
        }
        true
    }

    pub(crate) fn begun_again(&self, root: RunId) -> u32 {
        self.again.get(&root).copied().unwrap_or_default()
    }

    fn remove(&mut self, root: RunId) -> Option<Trace> {
        let trace = self.traces.remove(&root)?;
        self.by_first.remove(&trace.first);
        self.queued -= trace.queue.len();
        Some(trace)
    }

    /// The group is done with an open trace.
    pub(crate) fn finish(&mut self, root: RunId, how: Ending) {
        let Some(trace) = self.remove(root) else { return };
        self.again.remove(&root);
        let done = DoneTrace { done: Done { through: trace.last, how }, firsts: trace.firsts() };
        if let Some(before) = self.done.insert(root, done) {
            self.above.remove(&before.done.through);
            self.closed.remove(&before.done.through);
        }
        match how {
            Ending::Whole => self.above.insert(trace.last, root),
            Ending::Closed | Ending::Dead => self.closed.insert(trace.last, root),
        };
        self.uncommitted.insert(root);
    }

    /// What is to be written. `oldest`: when closed traces may be forgotten, by the server's time.
    pub(crate) fn commit(&self, oldest: u64) -> Option<Commit> {
        if !self.has_to_commit() {
            return None;
        }
        let position = self.position();
        let done = |root: &RunId| self.done.get(root).map(|known| (*root, known.done));
        let keep = |(_, done): &(RunId, Done)| done.through > position || done.how != Ending::Whole;
        let commit = Commit {
            position,
            done: self.uncommitted.iter().filter_map(done).filter(keep).collect(),
            forget: self.forgettable(position, oldest).map(|(_, root)| root).collect(),
            clear: self
                .clear
                .iter()
                .filter(|root| self.traces.contains_key(root))
                .copied()
                .collect(),
        };
        Some(commit)
    }

    /// Whether there is something to be written.
    pub(crate) fn has_to_commit(&self) -> bool {
        !self.uncommitted.is_empty() || !self.clear.is_empty() || self.position() > self.committed
    }

    fn forgettable(
        &self,
        position: StreamId,
        oldest: u64,
    ) -> impl Iterator<Item = (StreamId, RunId)> + '_ {
        let closed = self.closed.range(..StreamId::new(oldest, 0).min(position));
        let all = self.above.range(..=position).chain(closed);
        all.map(|(through, root)| (*through, *root))
    }

    /// A commit was written.
    pub(crate) fn committed(&mut self, commit: &Commit, oldest: u64) {
        self.committed = commit.position;
        self.uncommitted.clear();
        self.clear.clear();
        let forgotten: Vec<_> = self.forgettable(commit.position, oldest).collect();
        for (through, root) in forgotten {
            self.above.remove(&through);
            self.closed.remove(&through);
            self.remembered.push_back((root, through));
        }
        while self.remembered.len() > REMEMBERED {
            let Some((root, through)) = self.remembered.pop_front() else { break };
            // Unless it is done once more, later.
            if self.done.get(&root).is_some_and(|known| known.done.through == through) {
                self.done.remove(&root);
            }
        }
    }

    /// The group is done with all entries up to here, apart from later ones of done traces.
    pub(crate) fn position(&self) -> StreamId {
        let open = self.by_first.keys().next().map(|first| first.before());
        let deferred = self.deferred.map(StreamId::before);
        [open, deferred].into_iter().flatten().fold(self.cursor, StreamId::min)
    }

    /// Whether entries may be read: what is read must be handled some time.
    pub(crate) fn wants_more(&self, most_queued: usize) -> bool {
        self.queued < most_queued
    }

    /// Goes back to the first trace that had no room, if there is room now.
    pub(crate) fn rewind(&mut self, at_end: bool) {
        let open = self.traces.len();
        let room = open < self.max_open && (at_end || open <= self.max_open / 4 * 3);
        if let Some(first) = self.deferred.filter(|_| room) {
            self.deferred = None;
            self.without_room.clear();
            self.cursor = self.cursor.min(first.before());
        }
    }

    /// Whether all entries of the open traces that were ever read are taken: nothing is read again.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.cursor >= self.highest
    }

    pub(crate) fn trace(&self, root: RunId) -> Option<&Trace> {
        self.traces.get(&root)
    }

    pub(crate) fn begun(&mut self, root: RunId, begun: Begun) {
        if let Some(trace) = self.traces.get_mut(&root) {
            trace.begun = Some(begun);
            trace.suspect = begun.attempts > 1;
        }
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = (RunId, &Trace)> {
        self.traces.iter().map(|(root, trace)| (*root, trace))
    }
}
