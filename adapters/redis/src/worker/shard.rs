//! A worker's part in one partition, step by step. It makes no handler's call by itself and never
//! sleeps, so that tests can drive it with another clock.

mod intake;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rappel_core::{RemoteDelivery, RunId};

use super::books::Books;
use super::counts::{Counts, add};
use super::lease::{Clock, Lease};
use super::settings::{OnHandlerError, Settings};
use super::trace::{Item, Why};
use crate::broker::{Broker, Ending, Taken};
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

/// The result of handing items of a trace to the handlers.
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
    /// Publishers that give no sign, and since when, by this worker's clock.
    gone: BTreeMap<Arc<str>, Duration>,
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
            gone: BTreeMap::new(),
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

    /// Counts that each of the traces that are new is begun.
    fn begin(
        &mut self,
        broker: &mut dyn Broker,
        picked: &VecDeque<RunId>,
    ) -> Result<(), StepError> {
        let is_new =
            |root: &RunId| self.books.trace(*root).is_some_and(|trace| trace.begun.is_none());
        let new: Vec<RunId> = picked.iter().copied().filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let begun = broker.begin(self.partition, self.lease.epoch, &new)?;
        let begun = begun.ok_or_else(|| self.lost())?;
        new.into_iter().zip(begun).for_each(|(root, begun)| self.books.begun(root, begun));
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
        let (suspect, begun) = (trace.suspect, trace.begun.unwrap_or_default());
        if suspect && begun.attempts >= self.settings.max_attempts.max(2) {
            self.bury_trace(broker, root)?;
            return Ok(Some(true));
        }
        // It is replayed alone.
        if suspect && self.busy > 0 {
            return Ok(None);
        }
        // A part of the trace may have been handled each time, even if that was no attempt: a worker that
        // is stopped has begun it, too.
        let times = begun.times.saturating_add(self.books.begun_again(root));
        let delivery = RemoteDelivery::new(self.partition, self.lease.epoch).attempt(times);
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
            if let OnHandlerError::Retry(most) = self.settings.on_handler_error
                && calls.has_failed(root)
                && self.books.begin_again(root, most)
            {
                add(&self.counts.retried, 1);
                calls.forget(root);
                continue;
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
