//! The thread that publishes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buffer::Buffer;
use crate::broker::Broker;
use crate::error::Error;

pub(crate) struct Shared {
    state: Mutex<State>,
    /// There is something to publish, or to stop for.
    work: Condvar,
    /// There is room, or less to publish.
    room: Condvar,
    pub(crate) source: Arc<str>,
}

pub(crate) struct State {
    pub(crate) buffer: Buffer,
    /// Whether the broker did the last call. After a batch that it refused, a heartbeat that succeeds does not
    /// count.
    pub(crate) connected: bool,
    pub(crate) last_error: Option<Error>,
    pub(crate) errors: u64,
    stop: bool,
    flushing: usize,
    ended: bool,
}

/// How it publishes.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// Maximum number of records of a batch.
    pub(crate) batch: usize,
    /// How long a record waits for others, at most.
    pub(crate) linger: Duration,
    /// How long a publisher counts as alive without a sign.
    pub(crate) heartbeat: Duration,
    /// The longest pause after an error.
    pub(crate) back_off: Duration,
}

impl Pace {
    /// The pause after one more error.
    fn longer(&self, pause: Duration) -> Duration {
        (pause * 2).clamp(Duration::from_millis(20), self.back_off)
    }
}

impl Shared {
    pub(crate) fn new(buffer: Buffer, source: Arc<str>) -> Self {
        let state = State {
            buffer,
            connected: true,
            last_error: None,
            errors: 0,
            stop: false,
            flushing: 0,
            ended: false,
        };
        let (work, room) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), work, room, source }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something to publish.
    pub(crate) fn wake(&self) {
        self.work.notify_one();
    }

    /// Waits for `time` at most, until `done`.
    pub(crate) fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        time: Duration,
        done: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let began = Instant::now();
        while !done(&state) && !state.ended {
            let left = time.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            let waited = self.room.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Waits until all is published, for `deadline` at most. Returns the records that are left.
    pub(crate) fn flush(&self, deadline: Duration) -> usize {
        let mut state = self.state();
        state.flushing += 1;
        self.wake();
        let mut state = self.wait(state, deadline, |state| state.buffer.is_empty());
        state.flushing -= 1;
        state.buffer.records()
    }

    /// Ends the thread when all is published, or at the first error from now on.
    pub(crate) fn stop(&self) {
        self.state().stop = true;
        self.wake();
    }
}

/// Publishes until it is stopped.
pub(crate) fn publish(shared: &Shared, mut broker: Box<dyn Broker>, pace: &Pace) {
    let mut beat_at = Instant::now();
    let mut pause = Duration::ZERO;
    let mut paused_until = beat_at;
    let mut beat_pause = Duration::ZERO;
    // Whether the server answers, but refuses records. It may still accept heartbeats, if its memory is full.
    let mut refused = false;
    loop {
        if Instant::now() >= beat_at {
            let beaten = broker.publisher_lives(&shared.source, pace.heartbeat);
            let interval = pace.heartbeat / 4;
            // After an outage the sign may have expired, and workers look for it.
            let next = match beaten {
                Ok(()) => {
                    beat_pause = Duration::ZERO;
                    interval
                }
                Err(_) => {
                    beat_pause = pace.longer(beat_pause);
                    beat_pause.min(interval)
                }
            };
            beat_at = Instant::now() + next;
            if beaten.is_err() || !refused {
                note(shared, &mut pause, pace, beaten);
                paused_until = Instant::now() + pause;
            }
        }
        let batch = match next(shared, pace, paused_until, beat_at) {
            Next::Batch(partition, batch) => (partition, batch),
            Next::Beat => continue,
            Next::End => break,
        };
        let (partition, entries) = batch;
        let sent = broker.append(partition, &entries);
        refused = false;
        match sent {
            Ok(()) => shared.state().buffer.landed(partition),
            // The server may have lost the sign.
            Err(Error::Unreachable { .. } | Error::Answer(_)) => {
                beat_at = beat_at.min(Instant::now() + pace.longer(pause));
            }
            Err(_) => refused = true,
        }
        note(shared, &mut pause, pace, sent);
        paused_until = Instant::now() + pause;
        shared.room.notify_all();
    }
    shared.state().ended = true;
    shared.room.notify_all();
}

enum Next {
    Batch(u32, Vec<crate::Entry>),
    Beat,
    End,
}

/// Waits for what is to be done next.
///
/// After an error no batch is sent before `paused_until`, which only the end cuts short.
fn next(shared: &Shared, pace: &Pace, paused_until: Instant, beat_at: Instant) -> Next {
    let mut state = shared.state();
    let mut lingered = false;
    loop {
        let now = Instant::now();
        if state.stop && (state.buffer.is_empty() || !state.connected) {
            return Next::End;
        }
        let empty = state.buffer.is_empty();
        let hurry = state.stop || state.flushing > 0 || lingered;
        let full = state.buffer.records() >= pace.batch;
        if now >= paused_until
            && !empty
            && (hurry || full)
            && let Some((partition, batch)) = state.buffer.batch(pace.batch)
        {
            return Next::Batch(partition, batch);
        }
        if now >= beat_at {
            return Next::Beat;
        }
        let wait = match (now < paused_until, empty) {
            (true, _) => paused_until - now,
            (false, true) => beat_at - now,
            (false, false) => pace.linger.min(beat_at - now),
        };
        let waited = shared.work.wait_timeout(state, wait.max(Duration::from_micros(50)));
        let (held, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state = held;
        lingered |= !empty && timeout.timed_out();
    }
}

/// Notes the outcome of a call, and sets the pause after it.
fn note(shared: &Shared, pause: &mut Duration, pace: &Pace, outcome: Result<(), Error>) {
    let mut state = shared.state();
    state.connected = outcome.is_ok();
    *pause = match outcome {
        Ok(()) => Duration::ZERO,
        Err(error) => {
            state.errors += 1;
            state.last_error = Some(error);
            pace.longer(*pause)
        }
    };
}
