//! The books of a round: what each handler was called with, and whether it adds up.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rappel_core::{Event, EventContext, HandlerFailure, HandlerStats, RunId, ShutdownReport};

use super::handlers::NESTED;

/// Problems that are kept in words. Further ones are only counted.
const KEPT: usize = 20;

/// The problems of a round.
#[derive(Default)]
pub(crate) struct Problems(Mutex<(Vec<String>, usize)>);

impl Problems {
    pub(crate) fn add(&self, problem: String) {
        let mut problems = lock(&self.0);
        problems.1 += 1;
        if problems.0.len() < KEPT {
            problems.0.push(problem);
        }
    }

    pub(crate) fn expect(&self, good: bool, problem: impl FnOnce() -> String) {
        if !good {
            self.add(problem());
        }
    }

    pub(crate) fn take(&self) -> Vec<String> {
        let (mut kept, count) = std::mem::take(&mut *lock(&self.0));
        if count > kept.len() {
            kept.push(format!("and {} more", count - kept.len()));
        }
        kept
    }
}

/// The book of one handler.
pub(crate) struct Book {
    pub(crate) name: &'static str,
    problems: Arc<Problems>,
    runs: Mutex<HashMap<RunId, Entry>>,
    begun: AtomicUsize,
    done: AtomicUsize,
}

/// A run in a book.
#[derive(Default, Clone, Copy)]
struct Entry {
    parent: Option<RunId>,
    /// Whether it was started inside a handler's call.
    nested: bool,
    starts: usize,
    events: usize,
    ends: usize,
}

/// A handler's call. It is done when this is dropped.
pub(crate) struct Call<'a>(&'a Book);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::AcqRel);
    }
}

impl Book {
    pub(crate) fn new(name: &'static str, problems: &Arc<Problems>) -> Arc<Self> {
        Arc::new(Self {
            name,
            problems: problems.clone(),
            runs: Mutex::default(),
            begun: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        })
    }

    /// Notes an event, and checks that it may come now.
    pub(crate) fn begin(&self, event: &Event, cx: &EventContext) -> Call<'_> {
        self.begun.fetch_add(1, Ordering::AcqRel);
        let kind = event.kind();
        let mut runs = lock(&self.runs);
        let entry = runs.entry(cx.id()).or_default();
        let wrong = match *entry {
            Entry { ends: 1.., .. } => Some("after its end"),
            Entry { starts: 0, .. } if !kind.is_start() => Some("without a start"),
            Entry { starts: 1.., .. } if kind.is_start() => Some("after its start"),
            _ => None,
        };
        entry.parent = cx.parent_id();
        entry.nested = cx.name() == NESTED;
        entry.starts += usize::from(kind.is_start());
        entry.ends += usize::from(kind.is_end());
        entry.events += 1;
        drop(runs);
        if let Some(wrong) = wrong {
            let (run, id) = (cx.name(), cx.id());
            self.problems
                .add(format!("handler `{}`: {kind} of run {run} {id} came {wrong}", self.name));
        }
        Call(self)
    }

    /// The number of runs, and of their events.
    pub(crate) fn sums(&self) -> (usize, usize) {
        let runs = lock(&self.runs);
        (runs.len(), runs.values().map(|entry| entry.events).sum())
    }

    /// Whether this run's start has come.
    pub(crate) fn has(&self, run: RunId) -> bool {
        lock(&self.runs).contains_key(&run)
    }

    /// The number of calls that have begun and are not done.
    pub(crate) fn out(&self) -> usize {
        let done = self.done.load(Ordering::Acquire);
        self.begun.load(Ordering::Acquire).saturating_sub(done)
    }
}

/// The books of all handlers.
pub(crate) struct Books {
    pub(crate) problems: Arc<Problems>,
    /// The book of a handler that is interested in all events, never fails, and is always ready: it
    /// has every event that was emitted.
    pub(crate) ledger: Arc<Book>,
    pub(crate) others: Vec<Arc<Book>>,
    /// Reported failures, by the handler's name.
    failures: Mutex<HashMap<Arc<str>, usize>>,
}

impl Books {
    pub(crate) fn new(problems: Arc<Problems>, ledger: Arc<Book>, others: Vec<Arc<Book>>) -> Self {
        Self { problems, ledger, others, failures: Mutex::default() }
    }

    /// Notes a reported failure.
    pub(crate) fn failed(&self, failure: &HandlerFailure) {
        *lock(&self.failures).entry(failure.handler.clone()).or_default() += 1;
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Book>> {
        std::iter::once(&self.ledger).chain(&self.others)
    }

    /// The number of calls that are not done, of all handlers.
    pub(crate) fn out(&self) -> usize {
        self.all().map(|book| book.out()).sum()
    }

    /// Checks all books after a shutdown, when every call is back.
    pub(crate) fn check(&self, stats: &[HandlerStats], report: &ShutdownReport) {
        let books = self.all().count();
        self.problems.expect(stats.len() == books && report.handlers.len() == books, || {
            format!("{books} handlers, {} in the stats", stats.len())
        });
        for (book, stats) in self.all().zip(stats) {
            self.check_runs(book);
            self.check_stats(book, stats);
        }
        let (_, events) = self.ledger.sums();
        let ledger = stats.first().map_or(0, |stats| stats.handled);
        self.problems.expect(ledger == events, || {
            format!("the ledger has {events} events, and its handler handled {ledger}")
        });
    }

    /// Every start has one end.
    fn check_runs(&self, book: &Book) {
        let runs = lock(&book.runs);
        let mut open = runs.iter().filter(|(_, entry)| entry.ends == 0);
        if let Some((run, _)) = open.next() {
            let (name, more) = (book.name, open.count());
            self.problems.add(format!(
                "handler `{name}`: run {run} has no end, and {more} others have none"
            ));
        }
    }

    fn check_stats(&self, book: &Book, stats: &HandlerStats) {
        let name = book.name;
        let expect = |what: &str, is: usize, due: usize| {
            self.problems
                .expect(is == due, || format!("handler `{name}`: {what} is {is} instead of {due}"));
        };
        let begun = book.begun.load(Ordering::Acquire);
        expect("the number of calls that are done", book.done.load(Ordering::Acquire), begun);
        expect("pending", stats.pending, 0);
        expect("open_runs", stats.open_runs, 0);
        let reported = lock(&self.failures).get(&stats.name).copied().unwrap_or_default();
        expect("failed", stats.failed, reported);
        let (emitted, refused) = self.emitted_for(book);
        let accounted = stats.handled + stats.failed + stats.dropped + stats.coalesced;
        self.problems.expect(accounted == emitted, || {
            format!(
                "handler `{name}`: {} handled + {} failed + {} dropped + {} coalesced = {accounted} \
                 instead of the {emitted} emitted events",
                stats.handled, stats.failed, stats.dropped, stats.coalesced
            )
        });
        self.problems.expect(refused.contains(&stats.refused_runs), || {
            format!("handler `{name}`: refused_runs is {}, not in {refused:?}", stats.refused_runs)
        });
    }

    /// The events of all runs whose start the handler got, and how many runs can count as refused.
    /// A run under a refused run does not count, unless it is detached.
    fn emitted_for(&self, book: &Book) -> (usize, RangeInclusive<usize>) {
        let ledger = lock(&self.ledger.runs);
        if Arc::as_ptr(&self.ledger) == std::ptr::from_ref(book) {
            return (ledger.values().map(|entry| entry.events).sum(), 0..=0);
        }
        let runs = lock(&book.runs);
        let (heard, unheard): (Vec<_>, Vec<_>) =
            ledger.iter().partition(|(run, _)| runs.contains_key(run));
        if let Some(run) = runs.keys().find(|run| !ledger.contains_key(run)) {
            let name = book.name;
            self.problems.add(format!("handler `{name}`: the ledger does not have run {run}"));
        }
        let is_refused = |run: RunId| ledger.contains_key(&run) && !runs.contains_key(&run);
        let under_refused = |entry: &Entry| entry.parent.is_some_and(is_refused);
        let surely = unheard.iter().filter(|(_, entry)| entry.nested || !under_refused(entry));
        let events = heard.iter().map(|(_, entry)| entry.events);
        (events.sum(), surely.count()..=unheard.len())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
