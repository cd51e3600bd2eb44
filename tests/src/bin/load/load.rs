//! What is emitted, and what each handler got of it. Only numbers are kept, so that it takes little
//! time and memory.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rappel_core::{Event, EventContext};

/// Problems that are kept in words. Further ones are only counted.
const KEPT: usize = 20;

/// How much is emitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) runs: usize,
    pub(crate) tokens: usize,
}

impl Size {
    /// Number of events of a run: its start, its tokens, and its end.
    pub(crate) fn events(self) -> usize {
        self.tokens + 2
    }
}

/// The emitters' side.
pub(crate) struct Load {
    pub(crate) size: Size,
    /// Events of each run whose emission has begun. Counted before a handler can get them.
    pub(crate) begun: Vec<AtomicUsize>,
    /// Events of all runs that handlers can get. Counted after they can.
    pub(crate) queued: AtomicUsize,
    /// Runs that have started and not ended.
    pub(crate) open: AtomicUsize,
    problems: Mutex<Problems>,
}

#[derive(Default)]
struct Problems {
    kept: Vec<String>,
    count: usize,
}

impl Load {
    pub(crate) fn new(size: Size) -> Arc<Self> {
        Arc::new(Self {
            size,
            begun: counters(size.runs),
            queued: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            problems: Mutex::default(),
        })
    }

    pub(crate) fn problem(&self, what: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.count += 1;
        if problems.kept.len() < KEPT {
            problems.kept.push(what);
        }
    }

    /// Adds a problem unless `good`.
    pub(crate) fn expect(&self, good: bool, what: impl FnOnce() -> String) {
        if !good {
            self.problem(what());
        }
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = problems.kept.clone();
        if problems.count > kept.len() {
            kept.push(format!("and {} more", problems.count - kept.len()));
        }
        kept
    }
}

fn counters(length: usize) -> Vec<AtomicUsize> {
    (0..length).map(|_| AtomicUsize::new(0)).collect()
}

/// What one handler got.
pub(crate) struct Track {
    pub(crate) name: &'static str,
    load: Arc<Load>,
    /// Events of one run that may wait while another event is being handled.
    room: usize,
    /// Of each run, the number of events so far: the next one's position.
    next: Vec<AtomicUsize>,
    /// Of each run, whether a call is out.
    in_call: Vec<AtomicBool>,
    /// The most events of one run that waited at the same time.
    pub(crate) queue: AtomicUsize,
    /// A sync handler's longest row of calls for one run while another run was open.
    pub(crate) streak: AtomicUsize,
    /// A sync handler's calls that began while another run certainly waited.
    pub(crate) contended: AtomicUsize,
}

/// A call that is out.
pub(crate) struct Call<'a> {
    track: &'a Track,
    pub(crate) run: usize,
    /// The event's place in its run: 0 for the start, `n` + 1 for token `n`.
    pub(crate) position: usize,
}

impl Track {
    /// The track of a handler. `room` is what its delivery promises.
    pub(crate) fn new(name: &'static str, room: usize, load: &Arc<Load>) -> Arc<Self> {
        let runs = load.size.runs;
        Arc::new(Self {
            name,
            load: load.clone(),
            room,
            next: counters(runs),
            in_call: (0..runs).map(|_| AtomicBool::new(false)).collect(),
            queue: AtomicUsize::new(0),
            streak: AtomicUsize::new(0),
            contended: AtomicUsize::new(0),
        })
    }

    /// Notes the begin of a call. Returns `None` for an unexpected event, which is noted as a
    /// problem.
    pub(crate) fn begin(&self, event: &Event, cx: &EventContext) -> Option<Call<'_>> {
        let run = cx.name().parse::<usize>().ok().filter(|run| *run < self.next.len());
        let position = position(event, self.load.size);
        let (Some(run), Some(position)) = (run, position) else {
            let (name, kind) = (cx.name(), event.kind());
            self.load.problem(format!("handler `{}`, run {name}: an unexpected {kind}", self.name));
            return None;
        };
        if self.in_call[run].swap(true, Ordering::AcqRel) {
            self.problem(run, "two calls at a time");
        }
        let expected = self.next[run].swap(position + 1, Ordering::AcqRel);
        if position != expected {
            self.problem(
                run,
                &format!("event {position} ({}) came where {expected} was due", event.kind()),
            );
        }
        self.check_room(run, position);
        Some(Call { track: self, run, position })
    }

    fn check_room(&self, run: usize, position: usize) {
        let waiting = self.load.begun[run].load(Ordering::Acquire).saturating_sub(position + 1);
        self.queue.fetch_max(waiting, Ordering::Relaxed);
        if waiting > self.room {
            self.problem(
                run,
                &format!("{waiting} events wait where there is room for {}", self.room),
            );
        }
    }

    pub(crate) fn problem(&self, run: usize, what: &str) {
        self.load.problem(format!("handler `{}`, run {run}: {what}", self.name));
    }

    /// Number of events so far, of all runs.
    pub(crate) fn calls(&self) -> usize {
        self.next.iter().map(|next| next.load(Ordering::Acquire)).sum()
    }

    /// Adds a problem if a run has not all of its events.
    pub(crate) fn check_complete(&self) {
        let all = self.load.size.events();
        let came = self.next.iter().map(|next| next.load(Ordering::Acquire)).enumerate();
        let mut short = came.filter(|(_, came)| *came != all);
        if let Some((run, came)) = short.next() {
            let more = short.count();
            self.problem(
                run,
                &format!("only {came} of {all} events came, and {more} other runs are short too"),
            );
        }
    }

    /// Lower bound of the events of other runs that wait after `calls` calls. Only for a handler
    /// with one call at a time.
    ///
    /// It is the number of events that are certainly queued, without those that the handler got,
    /// and without all that this run may have queued.
    pub(crate) fn others_waiting(&self, call: &Call<'_>, calls: usize) -> usize {
        let queued = self.load.queued.load(Ordering::Acquire);
        let own =
            self.load.begun[call.run].load(Ordering::Acquire).saturating_sub(call.position + 1);
        queued.saturating_sub(calls + own)
    }

    pub(crate) fn is_other_open(&self) -> bool {
        self.load.open.load(Ordering::Acquire) > 1
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.track.in_call[self.run].store(false, Ordering::Release);
    }
}

/// The position of an event in its run.
fn position(event: &Event, size: Size) -> Option<usize> {
    match event {
        Event::LlmStart(_) => Some(0),
        Event::LlmNewToken(token) => token
            .token
            .parse::<usize>()
            .ok()
            .filter(|number| *number < size.tokens)
            .map(|number| number + 1),
        Event::LlmEnd(_) => Some(size.tokens + 1),
        _ => None,
    }
}
