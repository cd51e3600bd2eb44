//! Replay: records of events go to the handlers of a manager.

mod error;
mod known;
mod open;
mod order;
mod rebuild;
#[cfg(all(test, feature = "std"))]
mod tests;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::CallbackManager;
use crate::dispatch::{RunNode, Trace};
use crate::model::error::{EmitError, RunError};
use crate::model::event::{Event, EventKind, error_event};
use crate::model::record::EventRecord;
use crate::model::run_info::{RemoteDelivery, RunId, RunInfo, RunKind};
use crate::run::{Run, RunHandle, SendEvent, Setup, Stamp, Start};
use crate::util::{setters, yield_now};
pub use error::{ReplayCounts, ReplayError};
use known::Known;
use open::{OpenReplay, OpenRuns};
use rebuild::{fits, info_of, made_up_start, recorded_at};

/// Feeds records of events into the handlers of a manager.
///
/// Handlers get the events in the order of the records, in every delivery, with the ids, parents, names,
/// tags, metadata, numbers and times that were recorded. A child run has the handlers that its
/// parent's children inherit. Tags and metadata of the manager are not added.
///
/// For the order of queued handlers, all traces of a replayer are one. Use a replayer for each trace
/// if a slow handler should handle them side by side.
///
/// - A trace may start in the middle. A run whose start is missing is opened with a made-up start
///   ([`EventContext::is_made_up`](crate::EventContext::is_made_up)) without inputs.
/// - A trace may end in the middle. [`close_open`](Self::close_open) ends its open runs.
/// - A trace may come twice, as a whole or in part. What was replayed is skipped, by run and
///   sequence number. A custom event without a run is skipped by its
///   [`custom_seq`](EventRecord::custom_seq), and is never skipped if it has none. See
///   [`remember`](Self::remember).
/// - A replay may be given up and begun again: with [`give_up`](Self::give_up), or with another
///   replayer after this one was dropped. Runs that are open then end as
///   [`RunError::Cancelled`]. Before another replayer begins,
///   [flush](CallbackManager::flush) the manager: handlers with a queue then see these ends first.
///
/// ```
/// use rappel_core::record::EventRecord;
/// use rappel_core::{CallbackManager, Replayer, RunError};
///
/// async fn show(callbacks: &CallbackManager, lines: &str) -> Result<(), Box<dyn std::error::Error>> {
///     let mut replayer = Replayer::new(callbacks);
///     for line in lines.lines() {
///         let record: EventRecord = serde_json::from_str(line)?;
///         replayer.replay(record).await?;
///     }
///     replayer.close_open(RunError::TimedOut).await;
///     Ok(())
/// }
/// ```
pub struct Replayer {
    /// When it is dropped, they end as cancelled, deepest first. It is dropped before the manager.
    open: OpenRuns,
    manager: CallbackManager,
    /// All runs are of one trace, so that queued handlers get events in the order of the records.
    trace: Arc<Trace>,
    known: Known,
    opened: u64,
    counts: ReplayCounts,
    delivery: Option<RemoteDelivery>,
}

/// So that numbers do not overflow.
const LARGEST: u64 = 1 << 63;

impl Replayer {
    /// Makes a replayer for the handlers of `manager`.
    #[must_use]
    pub fn new(manager: &CallbackManager) -> Self {
        let mut manager = manager.clone();
        // Where the records say that a run is counts, not where the manager is.
        manager.change().parent = None;
        Self {
            manager,
            trace: Arc::new(Trace::new()),
            open: OpenRuns::default(),
            known: Known::new(),
            opened: 0,
            counts: ReplayCounts::default(),
            delivery: None,
        }
    }

    setters! {
        /// Sets the number of ended runs that are remembered, so that their records are skipped if they
        /// come again. The default is 10,000. The oldest are forgotten first.
        remember(runs: usize) { self.known.remember(runs) }
        /// Says how the records came to this process. Handlers get it as
        /// [`RunInfo::remote_delivery`], also of events that the replay makes up.
        delivered(delivery: RemoteDelivery) { self.delivery = Some(delivery) }
    }

    /// Returns what was done.
    #[must_use]
    pub fn counts(&self) -> ReplayCounts {
        self.counts
    }

    /// Returns the ids of the open runs.
    pub fn open_runs(&self) -> impl Iterator<Item = RunId> + '_ {
        self.open.runs.keys().copied()
    }

    /// Replays one record. Ready when all awaited handlers have handled its event.
    ///
    /// A record of an unknown kind, and one that was replayed before, is counted and skipped.
    /// If the future is dropped, the event may or may not have been delivered: give the trace up.
    ///
    /// # Errors
    /// [`ReplayError::Emit`] with [`EmitError::Raised`] if a handler with `raise_error` failed: the
    /// event was delivered. With [`EmitError::DuplicateRunId`] if an open run that is not part of
    /// this replay has the run's id. The other errors say that the record is malformed.
    pub async fn replay(&mut self, record: EventRecord) -> Result<(), ReplayError> {
        let mut record = record;
        let Some(event) = record.event.take() else {
            self.counts.unknown += 1;
            return Ok(());
        };
        let (kind, no_run) = (event.kind(), record.run_kind == RunKind::None);
        let open = self.open.runs.get(&record.run);
        if no_run && kind != EventKind::CustomEvent
            || !fits(kind, record.run_kind)
            || open.is_some_and(|open| !fits(kind, open.info().kind()))
        {
            return Err(ReplayError::WrongKind(record.run, kind));
        }
        if no_run {
            return self.replay_custom(record, event).await;
        }
        let Some(seq) = record.seq.filter(|seq| *seq < LARGEST) else {
            return Err(ReplayError::NoSequence(record.run));
        };
        if self.is_repeated(&record, seq) {
            self.counts.repeated += 1;
            return Ok(());
        }
        if let Some(parent) = record.parent.filter(|parent| self.open.is_under(*parent, record.run))
        {
            return Err(ReplayError::ParentUnderRun(record.run, parent));
        }
        let raised = match (self.open.runs.contains_key(&record.run), event.kind().is_start()) {
            (false, true) => {
                self.counts.replayed += 1;
                return self.start(&record, event, Some(seq)).await;
            }
            (false, false) => {
                let start = made_up_start(record.run_kind, &info_of(&record, self.delivery));
                let raised = self.start(&record, start, None).await;
                match raised {
                    Err(ReplayError::Emit(EmitError::Raised(_))) | Ok(()) => raised,
                    error => return error,
                }
            }
            (true, _) => Ok(()),
        };
        let result = self.emit(&record, seq, event).await;
        raised.and(result)
    }

    /// Ends all open runs with `reason`, deepest first. Each end has the latest time of its run.
    ///
    /// These ends stand in no record ([`EventContext::is_made_up`](crate::EventContext::is_made_up)).
    pub async fn close_open(&mut self, reason: RunError) {
        let runs = self.open.runs.keys().copied().collect();
        self.close(&runs, &reason).await;
    }

    /// Gives up the runs under `root`, and forgets what was replayed of them, so that the trace can
    /// begin again. Its open runs end as [`RunError::Cancelled`].
    pub async fn give_up(&mut self, root: RunId) {
        self.close(&self.open.of_root(root), &RunError::Cancelled).await;
        self.known.forget(root);
    }

    async fn close(&mut self, runs: &BTreeSet<RunId>, reason: &RunError) {
        for id in self.open.deepest_first(runs) {
            let Some(open) = self.take(id) else { continue };
            let event = error_event(open.info().kind(), reason.clone());
            let stamp = Stamp { kind: event.kind(), time: open.time, recorded: None };
            open.handle.run().stamp(Some(open.next), stamp).await;
            // What handlers raise has been reported, and nothing is there that could stop.
            let _ = open.handle.end(event).await;
        }
    }

    fn is_repeated(&self, record: &EventRecord, seq: u64) -> bool {
        match self.open.runs.get(&record.run) {
            Some(open) => seq < open.next,
            None => self.known.has_ended(record.root, record.run),
        }
    }

    /// Starts a run with the event of its record, or with a made-up one without a number.
    async fn start(
        &mut self,
        record: &EventRecord,
        event: Event,
        seq: Option<u64>,
    ) -> Result<(), ReplayError> {
        self.wait_for_given_up(record.run).await?;
        let info = info_of(record, self.delivery);
        let kind = event.kind();
        let run = self.make_run(info, record.parent);
        let recorded = seq.map(|_| recorded_at(record, None));
        let stamp = Stamp { kind, time: record.time, recorded };
        run.stamp(Some(seq.unwrap_or(0)), stamp).await;
        let start: Start<RunHandle> = Start::new(run, event, Some(record.run), None);
        let (handle, result) = start.keep().await;
        if let Err(error) = &result {
            if !matches!(error, EmitError::Raised(_) | EmitError::RuntimeGone(_)) {
                return Err(ReplayError::Emit(error.clone()));
            }
        }
        self.opened += 1;
        let open = OpenReplay {
            handle,
            root: record.root,
            next: seq.map_or(0, |seq| seq + 1),
            time: record.time,
            made_up: seq.is_none(),
            position: self.opened,
        };
        self.counts.made_up_starts += u64::from(open.made_up);
        self.open.insert(record.run, open);
        self.known.open(record.root);
        Ok(result?)
    }

    /// Emits the event of an open run.
    async fn emit(
        &mut self,
        record: &EventRecord,
        seq: u64,
        event: Event,
    ) -> Result<(), ReplayError> {
        let Some(open) = self.open.runs.get_mut(&record.run) else { return Ok(()) };
        self.counts.replayed += 1;
        open.next = seq + 1;
        open.time = record.time.or(open.time);
        // Not even its name may have been known.
        let run = open.made_up && record.about.is_some();
        let run = run.then(|| Arc::new(info_of(record, self.delivery)));
        let recorded = recorded_at(record, run);
        let stamp = Stamp { kind: event.kind(), time: record.time, recorded: Some(recorded) };
        open.handle.run().stamp(Some(seq), stamp).await;
        if !event.kind().is_end() {
            return Ok(open.handle.emit(event.kind(), || event).await?);
        }
        let Some(open) = self.take(record.run) else { return Ok(()) };
        Ok(open.handle.end(event).await?)
    }

    /// A custom event that was emitted on a manager.
    async fn replay_custom(
        &mut self,
        record: EventRecord,
        event: Event,
    ) -> Result<(), ReplayError> {
        let known = &mut self.known;
        let repeated = record.custom_seq.is_some_and(|number| {
            known.is_repeated(record.root, record.run, &record.source, number)
        });
        if repeated {
            self.counts.repeated += 1;
            return Ok(());
        }
        self.counts.replayed += 1;
        let mut info = info_of(&record, self.delivery);
        info.more().above_parent =
            record.about.as_ref().map(|about| about.parents.iter().copied().collect());
        (info.parent_id, info.root_id) = (None, record.run);
        let run = self.make_run(info, Some(record.run));
        let recorded = Some(recorded_at(&record, None));
        run.stamp(None, Stamp { kind: event.kind(), time: record.time, recorded }).await;
        Ok(SendEvent::new(run, event).await?)
    }

    /// Makes a run, with the handlers that `parent` hands down.
    fn make_run(&self, info: RunInfo, parent: Option<RunId>) -> Arc<Run> {
        let parent =
            parent.and_then(|parent| self.open.runs.get(&parent)).map(|open| open.handle.run());
        let setup: Arc<Setup> = match parent {
            Some(parent) => Arc::new(parent.setup.inherited(parent.node.clone())),
            None => self.manager.setup.clone(),
        };
        let reporter = setup.reporter.clone();
        let node = match parent {
            // An open run of this replay is in the same trace.
            Some(parent) => RunNode::under(&parent.node, Arc::new(info), reporter),
            None => RunNode::new(self.trace.clone(), Arc::new(info), reporter, false),
        };
        Run::new(node, setup)
    }

    /// A run of a replay that was given up may still be closing.
    async fn wait_for_given_up(&self, id: RunId) -> Result<(), EmitError> {
        while let Some(run) = self.manager.setup.engine.chosen_run(id) {
            if !run.is_given_up() {
                return Err(EmitError::DuplicateRunId);
            }
            run.closed().await;
            // Handlers with a queue see its end first, too. Inside a call there is no waiting.
            let _ = self.manager.flush().await;
            yield_now().await;
        }
        Ok(())
    }

    /// Takes an open run that ends.
    fn take(&mut self, id: RunId) -> Option<OpenReplay> {
        let open = self.open.remove(id)?;
        self.known.end(open.root, id);
        Some(open)
    }
}

impl fmt::Debug for Replayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open: Vec<RunId> = self.open_runs().collect();
        f.debug_struct("Replayer")
            .field("open_runs", &open)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
