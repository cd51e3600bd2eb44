//! Hands the items of traces to the handlers of a manager.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rappel_core::record::{ReplayError, Replayer};
use rappel_core::{
    CallbackManager, EmitError, Flush, HandlerFailure, RemoteDelivery, RunError, RunId,
};

use super::WorkerShared;
use super::counts::add;
use super::lease::{Clock, Lease};
use super::shard::{Calls, Outcome};
use super::trace::Item;
use crate::error::Error;

/// The open runs on whose events a handler has failed.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<RunId, bool>>);

impl Failures {
    fn with<T>(&self, change: impl FnOnce(&mut HashMap<RunId, bool>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn note(&self, failure: &HandlerFailure) {
        self.with(|runs| {
            if let Some(failed) = runs.get_mut(&failure.run_id) {
                *failed = true;
            }
        });
    }
}

type Work = Pin<Box<dyn Future<Output = (RunId, Option<Replayed>)> + Send>>;

/// The replayer, and what was not handed over.
type Replayed = (Replayer, Vec<Item>);

/// The calls for one partition. Its futures are polled by the thread that made it.
pub(crate) struct HandlerCalls {
    manager: CallbackManager,
    lease: Arc<Lease>,
    clock: Arc<dyn Clock>,
    shared: Arc<WorkerShared>,
    /// Absent if failures do not matter.
    failures: Option<Arc<Failures>>,
    timeout: Duration,
    work: FuturesUnordered<Work>,
    in_flight: HashMap<RunId, InFlight>,
    replayers: HashMap<RunId, Replayer>,
    runs: HashMap<RunId, Vec<RunId>>,
    flush: Option<(Flush, Duration)>,
    /// One that was not waited for any longer. Until it is done, none is waited for.
    stuck: Option<Flush>,
    waker: Waker,
    look_at: Duration,
}

struct InFlight {
    abort: AbortHandle,
    /// When the last item was begun, in nanoseconds of the clock.
    since: Arc<AtomicU64>,
}

/// Why a well-formed record did not reach all handlers.
fn not_handled(error: ReplayError) -> Option<Error> {
    match error {
        ReplayError::Emit(EmitError::ShutDown | EmitError::RuntimeGone(_)) => {
            Some(Error::CallbacksGone)
        }
        ReplayError::Emit(EmitError::DuplicateRunId) => Some(Error::CallbacksShared),
        _ => None,
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl HandlerCalls {
    pub(crate) fn new(
        manager: CallbackManager,
        lease: Arc<Lease>,
        clock: Arc<dyn Clock>,
        shared: Arc<WorkerShared>,
        failures: Option<Arc<Failures>>,
        timeout: Duration,
    ) -> Self {
        Self {
            manager,
            lease,
            clock,
            shared,
            failures,
            timeout,
            work: FuturesUnordered::new(),
            in_flight: HashMap::new(),
            replayers: HashMap::new(),
            runs: HashMap::new(),
            flush: None,
            stuck: None,
            waker: Arc::new(Unpark(thread::current())).into(),
            look_at: Duration::ZERO,
        }
    }

    /// Gives traces up whose handlers have not answered in time.
    fn abort_late(&mut self) {
        let now = self.clock.now();
        if now < self.look_at {
            return;
        }
        self.look_at = now + self.timeout / 8;
        let late = |begun: u64| nanos(now).saturating_sub(begun) >= nanos(self.timeout);
        for call in self.in_flight.values() {
            if late(call.since.load(Ordering::Relaxed)) {
                call.abort.abort();
            }
        }
    }

    /// Ends the open runs as handed over, after the calls in flight. It takes at most three times
    /// the time-out.
    pub(crate) fn hand_over(&mut self) -> Vec<(RunId, Outcome)> {
        let mut finished = Vec::new();
        let began = Instant::now();
        while !self.work.is_empty() && began.elapsed() < self.timeout {
            finished.extend(self.finished());
            if !self.work.is_empty() {
                thread::park_timeout(Duration::from_millis(5));
            }
        }
        finished.extend(self.finished());
        // No call starts any more. So those that are left have taken the whole time.
        finished.extend(self.in_flight.drain().map(|(root, _)| (root, Outcome::TimedOut)));
        self.work.clear();
        let open: Vec<_> = self.replayers.drain().collect();
        let closing: FuturesUnordered<_> = open
            .into_iter()
            .filter(|(_, replayer)| replayer.open_runs().next().is_some())
            .map(|(_, mut replayer)| async move {
                replayer.close_open(RunError::HandedOver).await;
            })
            .collect();
        let count = closing.len() as u64;
        self.block_on(closing.collect::<()>());
        let flush = self.manager.flush();
        self.block_on(flush);
        add(&self.shared.counts.handed_over, count);
        finished
    }

    fn block_on<F: Future>(&self, future: F) -> Option<F::Output> {
        let began = Instant::now();
        let mut future = std::pin::pin!(future);
        let mut cx = Context::from_waker(&self.waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            let left = self.timeout.saturating_sub(began.elapsed());
            if left.is_zero() {
                return None;
            }
            thread::park_timeout(left);
        }
    }
}

impl Calls for HandlerCalls {
    fn start(&mut self, root: RunId, delivery: RemoteDelivery, items: Vec<Item>) {
        let mut replayer = match self.replayers.remove(&root) {
            Some(replayer) => replayer,
            None => Replayer::new(&self.manager).delivered(delivery),
        };
        if let Some(failures) = &self.failures {
            let runs = self.runs.entry(root).or_default();
            failures.with(|known| {
                for item in &items {
                    if let Item::Record(record) = item
                        && known.insert(record.run, false).is_none()
                    {
                        runs.push(record.run);
                    }
                }
            });
        }
        let (lease, clock, shared) = (self.lease.clone(), self.clock.clone(), self.shared.clone());
        let since = Arc::new(AtomicU64::new(nanos(clock.now())));
        let beat = since.clone();
        let work = async move {
            let mut items = items.into_iter();
            while let Some(item) = items.next() {
                let now = clock.now();
                if !lease.may_call(now) {
                    return (replayer, std::iter::once(item).chain(items).collect());
                }
                beat.store(nanos(now), Ordering::Relaxed);
                match item {
                    Item::Record(record) => {
                        let unknown = record.event.is_none();
                        let replayed = replayer.replay(*record).await;
                        if let Some(why) = replayed.err().and_then(not_handled) {
                            // The trace is not acknowledged, so the record comes again.
                            lease.stop();
                            shared.give_up(why);
                            return (replayer, items.collect());
                        }
                        // What handlers raise has been reported. A record that does not fit its run
                        // is passed over.
                        let counts = &shared.counts;
                        let count = if unknown { &counts.unknown } else { &counts.records };
                        add(count, 1);
                    }
                    Item::Close(why) => replayer.close_open(why.error()).await,
                }
            }
            (replayer, Vec::new())
        };
        let (abort, registration) = AbortHandle::new_pair();
        let work = Abortable::new(work, registration);
        self.work.push(Box::pin(async move { (root, work.await.ok()) }));
        self.in_flight.insert(root, InFlight { abort, since });
    }

    fn finished(&mut self) -> Vec<(RunId, Outcome)> {
        self.abort_late();
        let mut finished = Vec::new();
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(Some((root, replayed))) = self.work.poll_next_unpin(&mut cx) {
            self.in_flight.remove(&root);
            let outcome = match replayed {
                Some((replayer, rest)) => {
                    self.replayers.insert(root, replayer);
                    Outcome::Handled { rest }
                }
                None => Outcome::TimedOut,
            };
            finished.push((root, outcome));
        }
        finished
    }

    fn is_flushed(&mut self) -> bool {
        if self.shared.has_given_up() {
            return false;
        }
        let now = self.clock.now();
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if let Some(stuck) = &mut self.stuck {
            if Pin::new(stuck).poll(&mut cx).is_pending() {
                return true;
            }
            self.stuck = None;
        }
        let (mut flush, since) = self.flush.take().unwrap_or_else(|| (self.manager.flush(), now));
        if Pin::new(&mut flush).poll(&mut cx).is_ready() {
            // What was not handled by then has been reported.
            return !self.shared.has_given_up();
        }
        if now.saturating_sub(since) < self.timeout {
            self.flush = Some((flush, since));
            return false;
        }
        // A handler that nothing waits for hangs. The others go on.
        add(&self.shared.counts.timed_out, 1);
        self.stuck = Some(flush);
        true
    }

    fn has_failed(&mut self, root: RunId) -> bool {
        let Some(failures) = &self.failures else { return false };
        let runs = self.runs.get(&root).map(Vec::as_slice).unwrap_or_default();
        failures.with(|known| runs.iter().any(|run| known.get(run) == Some(&true)))
    }

    fn forget(&mut self, root: RunId) {
        self.replayers.remove(&root);
        if let (Some(failures), Some(runs)) = (&self.failures, self.runs.remove(&root)) {
            failures.with(|known| {
                for run in &runs {
                    known.remove(run);
                }
            });
        }
    }
}
