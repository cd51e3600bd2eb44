//! What is emitted, and what each handler has heard of it: numbers only, so that keeping them costs next to nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rappel_core::{Event, RunInfo};

/// How many problems are kept in words; of more, only how many there were.
const TOLD: usize = 20;

/// How much is emitted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) runs: usize,
    pub(crate) tokens: usize,
}

impl Size {
    /// How many events a run has: its start, its tokens, and its end.
    pub(crate) fn events(self) -> usize {
        self.tokens + 2
    }
}

/// The emitters' side.
pub(crate) struct Load {
    pub(crate) size: Size,
    /// How many events of each run an emitter has begun to emit. Counted before a handler can see them.
    pub(crate) begun: Vec<AtomicUsize>,
    /// How many events of all runs are with the handlers, or were. Counted once they surely are.
    pub(crate) queued: AtomicUsize,
    /// How many runs have started and not ended.
    pub(crate) open: AtomicUsize,
    problems: Mutex<Problems>,
}

#[derive(Default)]
struct Problems {
    told: Vec<String>,
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
        if problems.told.len() < TOLD {
            problems.told.push(what);
        }
    }

    /// Complains unless it is as it should be.
    pub(crate) fn expect(&self, good: bool, what: impl FnOnce() -> String) {
        if !good {
            self.problem(what());
        }
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = problems.told.clone();
        if problems.count > told.len() {
            told.push(format!("and {} more", problems.count - told.len()));
        }
        told
    }
}

fn counters(length: usize) -> Vec<AtomicUsize> {
    (0..length).map(|_| AtomicUsize::new(0)).collect()
}

/// What one handler has heard.
pub(crate) struct Track {
    pub(crate) name: &'static str,
    load: Arc<Load>,
    /// How many events of one run may wait while another one is being handled.
    room: usize,
    /// Of each run, how many events have come: the next one's position.
    next: Vec<AtomicUsize>,
    /// Of each run, whether a call goes on.
    in_call: Vec<AtomicBool>,
    /// The most events of one run that waited at a time.
    pub(crate) queue: AtomicUsize,
    /// A sync handler's longest row of calls of one run, while another one was open.
    pub(crate) streak: AtomicUsize,
    /// A sync handler's calls that began while another run surely waited.
    pub(crate) contended: AtomicUsize,
}

/// A call that goes on.
pub(crate) struct Call<'a> {
    track: &'a Track,
    pub(crate) run: usize,
    /// The event's place in its run: 0 for the start, `n` + 1 for token `n`.
    pub(crate) position: usize,
}

impl Track {
    /// A handler's track; `room` is what its delivery promises.
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

    /// A call begins. `None` is for an event that should not be, which is a problem already.
    pub(crate) fn begin(&self, event: &Event, info: &RunInfo) -> Option<Call<'_>> {
        let run = info.name().parse::<usize>().ok().filter(|run| *run < self.next.len());
        let position = position(event, self.load.size);
        let (Some(run), Some(position)) = (run, position) else {
            let (name, kind) = (info.name(), event.kind());
            self.load
                .problem(format!("handler `{}`, run {name}: an unexpected {kind}", self.name));
            return None;
        };
        if self.in_call[run].swap(true, Ordering::AcqRel) {
            self.problem(run, "two calls at a time");
        }
        let expected = self.next[run].swap(position + 1, Ordering::AcqRel);
        if position != expected {
            self.problem(run, &format!("event {position} ({}) came where {expected} was due", event.kind()));
        }
        self.check_room(run, position);
        Some(Call {
            track: self,
            run,
            position,
        })
    }

    fn check_room(&self, run: usize, position: usize) {
        let waiting = self.load.begun[run].load(Ordering::Acquire).saturating_sub(position + 1);
        self.queue.fetch_max(waiting, Ordering::Relaxed);
        if waiting > self.room {
            self.problem(run, &format!("{waiting} events wait where there is room for {}", self.room));
        }
    }

    pub(crate) fn problem(&self, run: usize, what: &str) {
        self.load.problem(format!("handler `{}`, run {run}: {what}", self.name));
    }

    /// How many events have come, of all runs.
    pub(crate) fn calls(&self) -> usize {
        self.next.iter().map(|next| next.load(Ordering::Acquire)).sum()
    }

    /// Complains of the first run of which not all has come, for all of those.
    pub(crate) fn check_complete(&self) {
        let all = self.load.size.events();
        let came = self.next.iter().map(|next| next.load(Ordering::Acquire)).enumerate();
        let mut short = came.filter(|(_, came)| *came != all);
        if let Some((run, came)) = short.next() {
            let more = short.count();
            self.problem(
                run,
                &format!("heard of {came} events of {all}; and of {more} other runs not all, either"),
            );
        }
    }

    /// How many events of other runs wait, at least, after `calls` calls. Only for a handler that has one call at a time.
    ///
    /// Of those that were surely queued, we take away all that have been called for, and of our own run all that may be queued.
    pub(crate) fn others_waiting(&self, call: &Call<'_>, calls: usize) -> usize {
        let queued = self.load.queued.load(Ordering::Acquire);
        let own = self.load.begun[call.run].load(Ordering::Acquire).saturating_sub(call.position + 1);
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

/// Where in its run an event belongs.
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
