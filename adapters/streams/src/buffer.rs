//! What is between the emitters and a reader: a bounded queue of records.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rappel_core::record::{EventRecord, Recorder};
use rappel_core::{Event, EventContext, LlmNewToken, RunId};

/// Maximum number of records that wait for a reader that emitters wait for, or that is disconnected.
const CAPACITY: usize = 256;

/// Maximum number of records that wait for a reader whose tokens are joined.
const MOST_RECORDS: usize = 16_384;

/// What happens if a reader is slower than its emitters. Starts, ends and errors are never dropped:
/// a reader gets all of them, or it is cut off and told so by [`Lagged`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowReader {
    /// If 256 records wait, the emitter of the next one waits. The default, with 30 s.
    Wait {
        /// How long an emitter waits before the reader is cut off. The runtime needs a timer.
        at_most: Duration,
    },
    /// Emitters never wait. Plain tokens are joined to the last waiting token of their run.
    /// The reader is cut off if 16,384 records wait, or if a run's waiting text is too long.
    Coalesce {
        /// Maximum size of the waiting text of one run, in bytes.
        max_bytes: usize,
    },
    /// The reader is cut off if 256 records wait.
    Disconnect,
}

impl SlowReader {
    /// [`Wait`](Self::Wait) for at most 30 s.
    #[must_use]
    pub const fn wait() -> Self {
        Self::Wait { at_most: Duration::from_secs(30) }
    }

    /// [`Coalesce`](Self::Coalesce) with at most 1 MiB a run.
    #[must_use]
    pub const fn coalesce() -> Self {
        Self::Coalesce { max_bytes: 1 << 20 }
    }
}

impl Default for SlowReader {
    fn default() -> Self {
        Self::wait()
    }
}

/// The reader was too slow and was cut off. It is the last item of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the reader was too slow and was cut off: {dropped} events of {runs} open runs were dropped"
)]
#[non_exhaustive]
pub struct Lagged {
    /// Number of runs that lost an event: those that were open, and those with waiting records.
    pub runs: usize,
    /// Number of records that were waiting, and of the event that found no room.
    pub dropped: usize,
}

/// What became of an event.
pub(crate) enum Offer {
    Taken,
    /// There is no reader, or it was cut off.
    Gone,
    Full,
}

#[derive(Debug)]
pub(crate) struct Buffer {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slow: SlowReader,
    recorder: Recorder,
    queue: VecDeque<Queued>,
    /// The number of the first record in the queue.
    first: u64,
    /// The open runs, with what of them waits.
    open: HashMap<RunId, Waiting>,
    reader: Option<Waker>,
    emitters: BTreeMap<u64, Waker>,
    next_emitter: u64,
    handlers: usize,
    was_attached: bool,
    is_finishing: bool,
    is_gone: bool,
    lagged: Option<Lagged>,
}

#[derive(Debug)]
struct Queued {
    record: Box<EventRecord>,
    /// The text of the tokens that were joined to it.
    joined: String,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    /// The number of the run's last record, if that is a token without a chunk.
    last_token: Option<u64>,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        let state = State {
            slow: SlowReader::default(),
            recorder: Recorder::with_random_source(),
            queue: VecDeque::new(),
            first: 0,
            open: HashMap::new(),
            reader: None,
            emitters: BTreeMap::new(),
            next_emitter: 0,
            handlers: 0,
            was_attached: false,
            is_finishing: false,
            is_gone: false,
            lagged: None,
        };
        Self { state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_slow_reader(&self, slow: SlowReader) {
        self.lock().slow = slow;
    }

    pub(crate) fn slow_reader(&self) -> SlowReader {
        self.lock().slow
    }

    pub(crate) fn handler_added(&self) {
        let mut state = self.lock();
        state.handlers += 1;
        state.was_attached = true;
    }

    /// The handlers that there were before the reader.
    pub(crate) fn handlers_are(&self, handlers: usize) {
        let mut state = self.lock();
        state.handlers = handlers;
        state.was_attached = true;
    }

    /// Whether there is no reader, or it was cut off.
    pub(crate) fn is_gone(&self) -> bool {
        self.lock().is_gone
    }

    pub(crate) fn handler_dropped(&self) {
        let reader = {
            let mut state = self.lock();
            state.handlers -= 1;
            state.reader.take()
        };
        wake(reader);
    }

    /// No more runs will start: the stream ends when the open ones have ended.
    pub(crate) fn finish(&self) {
        self.lock().is_finishing = true;
    }

    /// Wakes the reader no more until its next poll.
    pub(crate) fn forget_reader(&self) {
        let reader = self.lock().reader.take();
        drop(reader);
    }

    pub(crate) fn reader_dropped(&self) {
        let (records, emitters) = {
            let mut state = self.lock();
            state.is_gone = true;
            (std::mem::take(&mut state.queue), std::mem::take(&mut state.emitters))
        };
        drop(records);
        emitters.into_values().for_each(Waker::wake);
    }

    /// A number for an emitter that waits.
    pub(crate) fn emitter(&self) -> u64 {
        let mut state = self.lock();
        state.next_emitter += 1;
        state.next_emitter
    }

    pub(crate) fn wait(&self, emitter: u64, waker: &Waker) {
        let waker = waker.clone();
        let mut state = self.lock();
        if state.queue.len() >= CAPACITY && !state.is_gone {
            let before = state.emitters.insert(emitter, waker);
            drop(state);
            drop(before);
        } else {
            drop(state);
            // There has been room since the emitter asked.
            waker.wake();
        }
    }

    /// An emitter has stopped waiting.
    pub(crate) fn stopped_waiting(&self, emitter: u64) {
        let waker = self.lock().emitters.remove(&emitter);
        drop(waker);
    }

    /// The reader is cut off, because an event finds no room.
    pub(crate) fn cut_off(&self) {
        let mut state = self.lock();
        let dropped = state.cut_off();
        let (reader, emitters) = (state.reader.take(), std::mem::take(&mut state.emitters));
        drop(state);
        drop(dropped);
        wake(reader);
        emitters.into_values().for_each(Waker::wake);
    }

    /// Queues an event, if there is room.
    pub(crate) fn offer(&self, event: &Event, cx: &EventContext) -> Offer {
        let mut state = self.lock();
        if state.is_gone {
            return Offer::Gone;
        }
        if let Event::LlmNewToken(token) = event
            && state.join(token, cx.id())
        {
            return Offer::Taken;
        }
        let text = match event {
            Event::LlmNewToken(token) => size(token),
            _ => 0,
        };
        let is_full = match state.slow {
            SlowReader::Wait { .. } if state.queue.len() >= CAPACITY => return Offer::Full,
            SlowReader::Wait { .. } => false,
            SlowReader::Disconnect => state.queue.len() >= CAPACITY,
            SlowReader::Coalesce { max_bytes } => {
                let waiting = state.open.get(&cx.id()).map_or(0, |run| run.bytes);
                waiting + text > max_bytes || state.queue.len() >= MOST_RECORDS
            }
        };
        if is_full {
            drop(state);
            self.cut_off();
            return Offer::Gone;
        }
        let Some(record) = state.recorder.record(event, cx) else {
            return Offer::Taken;
        };
        state.push(Box::new(record.to_record()), event, cx.id(), text);
        let reader = state.reader.take();
        drop(state);
        wake(reader);
        Offer::Taken
    }

    pub(crate) fn poll_next(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Box<EventRecord>, Lagged>>> {
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if let Some(lagged) = state.lagged.take() {
            return Poll::Ready(Some(Err(lagged)));
        }
        if let Some(record) = state.pop() {
            let emitters = match state.queue.len() < CAPACITY {
                true => std::mem::take(&mut state.emitters),
                false => BTreeMap::new(),
            };
            drop(state);
            emitters.into_values().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(record)));
        }
        let is_over = state.is_gone
            || state.was_attached && state.handlers == 0
            || state.is_finishing && state.open.is_empty();
        let before = match is_over {
            true => state.reader.take(),
            false => state.reader.replace(waker),
        };
        drop(state);
        drop(before);
        if is_over { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl State {
    /// Whether it counts the waiting text of runs.
    fn coalesces(&self) -> bool {
        matches!(self.slow, SlowReader::Coalesce { .. })
    }

    /// Joins a token to its run's last record.
    fn join(&mut self, token: &LlmNewToken, run: RunId) -> bool {
        let SlowReader::Coalesce { max_bytes } = self.slow else {
            return false;
        };
        let Some(waiting) = self.open.get_mut(&run) else {
            return false;
        };
        let at = waiting.last_token.and_then(|number| number.checked_sub(self.first));
        let Some(queued) = at.and_then(|at| self.queue.get_mut(at as usize)) else {
            return false;
        };
        if token.chunk.is_some() || waiting.bytes + token.token.len() > max_bytes {
            return false;
        }
        queued.joined.push_str(&token.token);
        queued.record.lost.coalesced += 1;
        waiting.bytes += token.token.len();
        true
    }

    fn push(&mut self, record: Box<EventRecord>, event: &Event, run: RunId, text: usize) {
        let number = self.first + self.queue.len() as u64;
        if event.kind().is_start() {
            self.open.insert(run, Waiting::default());
        } else if event.kind().is_end() {
            self.open.remove(&run);
        } else if self.coalesces()
            && let Some(waiting) = self.open.get_mut(&run)
        {
            waiting.bytes += text;
            let is_plain = matches!(event, Event::LlmNewToken(token) if token.chunk.is_none());
            waiting.last_token = is_plain.then_some(number);
        }
        self.queue.push_back(Queued { record, joined: String::new() });
    }

    fn pop(&mut self) -> Option<Box<EventRecord>> {
        let coalesces = self.coalesces();
        let Queued { mut record, joined } = self.queue.pop_front()?;
        self.first += 1;
        if let Some(Event::LlmNewToken(token)) = &mut record.event {
            if !joined.is_empty() {
                token.token = [token.token.as_str(), &joined].concat().into();
            }
            if coalesces && let Some(waiting) = self.open.get_mut(&record.run) {
                waiting.bytes = waiting.bytes.saturating_sub(size(token));
            }
        }
        Some(record)
    }

    #[must_use]
    fn cut_off(&mut self) -> VecDeque<Queued> {
        if !self.is_gone {
            self.is_gone = true;
            let waiting: usize =
                self.queue.iter().map(|queued| 1 + queued.record.lost.coalesced).sum();
            let runs: HashSet<RunId> = self.queue.iter().map(|queued| queued.record.run).collect();
            let runs = runs.iter().chain(self.open.keys()).collect::<HashSet<_>>().len();
            self.lagged = Some(Lagged { runs, dropped: waiting + 1 });
        }
        std::mem::take(&mut self.queue)
    }
}

/// The size of what a token has, in bytes.
fn size(token: &LlmNewToken) -> usize {
    let calls: usize = token.tool_calls().iter().map(|call| call.arguments.len()).sum();
    token.token.len() + token.reasoning().len() + token.refusal().len() + calls
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
