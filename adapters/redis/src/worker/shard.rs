//! A worker's part in one partition, step by step. It makes no handler's call by itself and never
//! sleeps, so that tests can drive it with another clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rappel_core::{RemoteDelivery, RunId};

use super::books::{Books, Took};
use super::counts::{Counts, add};
use super::lease::{Clock, Lease};
use super::settings::{OnHandlerError, Settings};
use super::trace::{Item, Why};
use crate::broker::{Broker, Ending, Taken};
use crate::entry::{self, Fields};
use crate::error::Error;
use crate::id::StreamId;

/// Hands the items of traces to handlers.
pub(crate) trait Calls {
    /// Begins to hand items of a trace over, in order. No call starts if the lease does not allow it.
    fn start(&mut self, root: RunId, delivery: RemoteDelivery, items: Vec<Item>);

    /// Returns what is done, without waiting.
    fn finished(&mut self) -> Vec<(RunId, Outcome)>;

    /// Waits, without blocking, until all that was handed over before is handled in every delivery.
    /// `true` when it is. The next call begins anew.
    fn is_flushed(&mut self) -> bool;

    /// Whether a handler has failed on an event of the trace. It is asked when the handlers are flushed.
    fn has_failed(&mut self, root: RunId) -> bool;

    /// Forgets a trace. Its open runs are not handed over.
    fn forget(&mut self, root: RunId);
}

/// What became of the items of a trace.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// They are handled, apart from these.
    Handled { rest: Vec<Item> },
    /// A handler did not answer in time. The trace is given up.
    TimedOut,
}

pub(crate) struct Shard {
    pub(crate) partition: u32,
    pub(crate) lease: Arc<Lease>,
    pub(crate) books: Books,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    counts: Arc<Counts>,
    busy: usize,
    /// Whether the calls in flight are those of a trace that is replayed alone.
    alone: bool,
    /// Traces that are handled to their ends, apart from deliveries that nothing waits for.
    over: Vec<RunId>,
    /// Those for which the handlers are flushed.
    flushing: Vec<RunId>,
    /// Traces that may be orphans, with their last entries.
    maybe_orphans: BTreeMap<RunId, StreamId>,
    look_at: Duration,
    commit_at: Duration,
    /// Closed traces before this are forgotten, by the server's time in milliseconds.
    oldest: u64,
}

/// What a step has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// There may be more to do at once.
    Went,
    /// Calls are in flight.
    Waits,
    /// There was nothing to do.
    Idle,
}

/// Why a step failed.
#[derive(Debug)]
pub(crate) enum StepError {
    /// The partition has another owner.
    Lost,
    /// The step can be made again.
    Broker(Error),
}

impl From<Error> for StepError {
    fn from(error: Error) -> Self {
        Self::Broker(error)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Shard {
    pub(crate) fn new(
        partition: u32,
        taken: &Taken,
        lease: Arc<Lease>,
        clock: Arc<dyn Clock>,
        settings: Arc<Settings>,
        counts: Arc<Counts>,
    ) -> Self {
        let books = Books::new(taken, settings.max_open);
        let now = clock.now();
        Self {
            partition,
            lease,
            books,
            clock,
            settings,
            counts,
            busy: 0,
            alone: false,
            over: Vec::new(),
            flushing: Vec::new(),
            maybe_orphans: BTreeMap::new(),
            look_at: now,
            commit_at: now,
            oldest: 0,
        }
    }

    /// Does what can be done now.
    ///
    /// # Errors
    /// [`StepError::Lost`] if the partition is lost, and those of the broker. After the latter the step can be
    /// made again.
    pub(crate) fn step(
        &mut self,
        broker: &mut dyn Broker,
        calls: &mut dyn Calls,
    ) -> Result<Step, StepError> {
        if self.lease.is_lost(self.clock.now()) {
            return Err(StepError::Lost);
        }
        let mut went = self.take_finished(calls);
        went |= self.start_calls(broker, calls)?;
        went |= self.flush(calls);
        went |= self.commit(broker)?;
        self.look_for_orphans(broker)?;
        went |= self.read(broker, went)?;
        Ok(match (went, self.busy > 0 || !self.flushing.is_empty()) {
            (true, _) => Step::Went,
            (false, true) => Step::Waits,
            (false, false) => Step::Idle,
        })
    }

    fn take_finished(&mut self, calls: &mut dyn Calls) -> bool {
        let finished = calls.finished();
        let any = !finished.is_empty();
        self.take_outcomes(finished, calls);
        any
    }

    fn take_outcomes(&mut self, finished: Vec<(RunId, Outcome)>, calls: &mut dyn Calls) {
        for (root, outcome) in finished {
            self.busy = self.busy.saturating_sub(1);
            match outcome {
                Outcome::Handled { rest } => {
                    if self.books.handled(root, rest) {
                        self.over.push(root);
                    }
                }
                Outcome::TimedOut => {
                    add(&self.counts.timed_out, 1);
                    self.books.handled(root, Vec::new());
                    self.books.finish(root, Ending::Closed);
                    calls.forget(root);
                }
            }
        }
        self.alone &= self.busy > 0;
    }

    fn start_calls(
        &mut self,
        broker: &mut dyn Broker,
        calls: &mut dyn Calls,
    ) -> Result<bool, StepError> {
        if self.alone || !self.lease.may_call(self.clock.now()) {
            return Ok(false);
        }
        let room = self.settings.max_concurrent.max(1).saturating_sub(self.busy);
        let mut picked = VecDeque::from(self.books.pick(self.busy, room));
        let started = self.begin(broker, &picked).and_then(|()| {
            let mut any = false;
            while let Some(root) = picked.front().copied() {
                let Some(go_on) = self.start(broker, calls, root)? else { break };
                any = true;
                picked.pop_front();
                if !go_on {
                    break;
                }
            }
            Ok(any)
        });
        picked.into_iter().rev().for_each(|root| self.books.put_back(root));
        started
    }

    /// Counts the attempts of the traces that are new.
    fn begin(
        &mut self,
        broker: &mut dyn Broker,
        picked: &VecDeque<RunId>,
    ) -> Result<(), StepError> {
        let is_new = |root: &RunId| self.books.trace(*root).is_some_and(|trace| trace.attempt == 0);
        let new: Vec<RunId> = picked.iter().copied().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let attempts = broker.begin(self.partition, self.lease.epoch, &new)?;
        let attempts = attempts.ok_or_else(|| self.lost())?;
        new.into_iter().zip(attempts).for_each(|(root, attempt)| self.books.begun(root, attempt));
        Ok(())
    }

    /// Starts the calls of a trace. `None` if it has to wait; whether others may be started beside it.
    fn start(
        &mut self,
        broker: &mut dyn Broker,
        calls: &mut dyn Calls,
        root: RunId,
    ) -> Result<Option<bool>, StepError> {
        let Some(trace) = self.books.trace(root) else { return Ok(Some(true)) };
        let suspect = trace.suspect;
        if suspect && trace.attempt >= self.settings.max_attempts.max(2) {
            self.bury_trace(broker, root)?;
            return Ok(Some(true));
        }
        // It is replayed alone.
        if suspect && self.busy > 0 {
            return Ok(None);
        }
        let attempt = trace.attempt.saturating_add(self.books.begun_again(root));
        let delivery = RemoteDelivery {
            partition: self.partition,
            epoch: self.lease.epoch,
            attempt,
            replayed: attempt > 1,
        };
        let items = self.books.start(root);
        self.busy += 1;
        self.alone = suspect;
        calls.start(root, delivery, items);
        Ok(Some(!suspect))
    }

    fn lost(&self) -> StepError {
        self.lease.lose();
        StepError::Lost
    }

    /// Copies all entries of a trace to the dead letters.
    fn bury_trace(&mut self, broker: &mut dyn Broker, root: RunId) -> Result<(), StepError> {
        let Some(trace) = self.books.trace(root) else { return Ok(()) };
        let (mut after, last) = (trace.first.before(), trace.last);
        let reason = "the workers that replayed the trace ended in it";
        while after < last {
            let entries = broker.read(self.partition, after, self.settings.read, Duration::ZERO)?;
            let Some((through, _)) = entries.last() else { break };
            after = *through;
            let of_trace = |(id, fields): &(StreamId, Fields)| {
                *id <= last && entry::root_of(fields) == Some(root)
            };
            let letters: Vec<_> = entries.into_iter().filter(of_trace).collect();
            self.bury(broker, &letters, reason)?;
        }
        self.books.finish(root, Ending::Dead);
        add(&self.counts.dead_traces, 1);
        Ok(())
    }

    fn bury(
        &self,
        broker: &mut dyn Broker,
        letters: &[(StreamId, Fields)],
        reason: &str,
    ) -> Result<(), StepError> {
        if letters.is_empty() {
            return Ok(());
        }
        let buried = broker.bury(self.partition, self.lease.epoch, letters, reason)?;
        buried.ok_or_else(|| self.lost())?;
        add(&self.counts.dead_records, letters.len() as u64);
        Ok(())
    }

    /// First the handlers are flushed, then the traces are done, so that a background handler has
    /// handled their ends.
    fn flush(&mut self, calls: &mut dyn Calls) -> bool {
        if self.flushing.is_empty() {
            if self.over.is_empty() {
                return false;
            }
            self.flushing = std::mem::take(&mut self.over);
        }
        if !calls.is_flushed() {
            return false;
        }
        for root in std::mem::take(&mut self.flushing) {
            // More may have come: a run that started under it later.
            if !self.books.is_over(root) {
                continue;
            }
            if let OnHandlerError::Retry(most) = self.settings.on_handler_error {
                if calls.has_failed(root) && self.books.begin_again(root, most) {
                    add(&self.counts.retried, 1);
                    calls.forget(root);
                    continue;
                }
            }
            let closing = self.books.trace(root).and_then(|trace| trace.closing);
            let counts = &self.counts;
            let (count, how): (&AtomicU64, _) = match closing {
                None => (&counts.whole, Ending::Whole),
                Some(Why::Incomplete) => (&counts.incomplete, Ending::Closed),
                Some(Why::Orphan) => (&counts.orphans, Ending::Closed),
                Some(Why::Old) => (&counts.old, Ending::Closed),
            };
            add(count, 1);
            self.books.finish(root, how);
            calls.forget(root);
        }
        true
    }

    fn commit(&mut self, broker: &mut dyn Broker) -> Result<bool, StepError> {
        let now = self.clock.now();
        if now < self.commit_at {
            return Ok(false);
        }
        let Some(commit) = self.books.commit(self.oldest) else { return Ok(false) };
        let written = broker.commit(self.partition, self.lease.epoch, &commit)?;
        written.ok_or_else(|| self.lost())?;
        self.books.committed(&commit, self.oldest);
        self.commit_at = now + self.settings.commit_every;
        Ok(true)
    }

    /// Looks for open traces of which no record came for long. All times are the server's.
    fn look_for_orphans(&mut self, broker: &mut dyn Broker) -> Result<(), StepError> {
        let now = self.clock.now();
        if now < self.look_at {
            return Ok(());
        }
        let server = broker.now()?;
        let (after, age) =
            (millis(self.settings.orphan_after), millis(self.settings.max_trace_age));
        let (mut old, mut idle) = (Vec::new(), Vec::new());
        for (root, trace) in self.books.open().filter(|(_, trace)| trace.closing.is_none()) {
            if server.saturating_sub(trace.first.ms) >= age {
                old.push(root);
            } else if !trace.busy
                && trace.queue.is_empty()
                && server.saturating_sub(trace.last.ms) >= after
            {
                idle.push((root, trace.last, trace.open_sources()));
            }
        }
        let mut alive = BTreeMap::new();
        self.maybe_orphans.clear();
        for (root, last, sources) in idle {
            let mut any = false;
            for source in sources {
                let known = match alive.get(&source) {
                    Some(known) => *known,
                    None => broker.is_publisher_alive(&source)?,
                };
                alive.insert(source, known);
                any |= known;
            }
            if !any {
                self.maybe_orphans.insert(root, last);
            }
        }
        old.into_iter().for_each(|root| self.books.close(root, Why::Old));
        self.oldest = server.saturating_sub(age);
        self.look_at = now + self.settings.orphan_after / 4;
        Ok(())
    }

    fn read(&mut self, broker: &mut dyn Broker, went: bool) -> Result<bool, StepError> {
        if !self.books.wants_more(self.settings.max_queued) {
            return Ok(false);
        }
        let nothing_else = !went
            && self.busy == 0
            && self.flushing.is_empty()
            && self.over.is_empty()
            && !self.books.has_ready()
            && self.books.commit(self.oldest).is_none();
        let wait = if nothing_else { self.settings.wait } else { Duration::ZERO };
        let after = self.books.cursor;
        let entries = broker.read(self.partition, after, self.settings.read, wait)?;
        let at_end = entries.is_empty();
        for (id, fields) in entries {
            self.take(broker, id, fields)?;
        }
        if at_end && self.books.is_caught_up() {
            // What was read after the look at the publishers is there: no record has come.
            for (root, last) in std::mem::take(&mut self.maybe_orphans) {
                if self.books.trace(root).is_some_and(|trace| trace.last == last) {
                    self.books.close(root, Why::Orphan);
                }
            }
        }
        self.books.rewind(at_end);
        Ok(!at_end)
    }

    fn take(
        &mut self,
        broker: &mut dyn Broker,
        id: StreamId,
        fields: Fields,
    ) -> Result<(), StepError> {
        let is_new = !self.books.was_taken(id);
        let (root, read) = match entry::read(&fields) {
            Ok(read) => {
                if is_new && self.books.is_dead(read.root) {
                    self.bury(broker, &[(id, fields)], "its trace is in the dead letters")?;
                }
                (read.root, Some(read))
            }
            Err(unreadable) => {
                if is_new {
                    self.bury(broker, &[(id, fields)], &unreadable.why)?;
                }
                let Some(root) = unreadable.root else {
                    self.books.skip(id);
                    return Ok(());
                };
                (root, None)
            }
        };
        match self.books.take(id, root, read) {
            Took::Kept | Took::Before | Took::Deferred => {}
            Took::Repeated => add(&self.counts.repeated, 1),
            Took::Late => add(&self.counts.late, 1),
            Took::Headless => add(&self.counts.incomplete, 1),
        }
        Ok(())
    }

    /// Takes what was done before the open traces were handed over.
    pub(crate) fn handed_over(&mut self, finished: Vec<(RunId, Outcome)>, calls: &mut dyn Calls) {
        self.take_outcomes(finished, calls);
    }

    /// Ends the work: no call is in flight any more, and no further one starts. Traces that were
    /// handled to their ends are committed. The others are given back, if the partition is still held.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub(crate) fn end(
        &mut self,
        broker: &mut dyn Broker,
        calls: &mut dyn Calls,
    ) -> Result<(), StepError> {
        self.take_finished(calls);
        while self.flush(calls) {}
        self.commit_at = Duration::ZERO;
        self.commit(broker)?;
        let open: Vec<RunId> = self.books.open().map(|(root, _)| root).collect();
        broker.release(self.partition, self.lease.epoch, &open)?.ok_or_else(|| self.lost())
    }
}
