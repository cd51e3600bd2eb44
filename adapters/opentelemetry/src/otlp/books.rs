//! What becomes of each span.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What became of the spans that have ended. Spans that are not sampled are not counted.
///
/// Each span is in one of the five counts that follow `ended`, and their sum is `ended`. After a
/// shutdown `pending` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SpanCounts {
    /// Spans that have ended.
    pub ended: u64,
    /// The collector has confirmed them.
    pub acknowledged: u64,
    /// The collector has refused them: by its status, or as part of a partial success.
    pub rejected: u64,
    /// They were not sent: the queue was full, the exporter was shut down, there was no connection,
    /// or a span was too large.
    pub dropped: u64,
    /// They were sent, and no answer came. The collector may have them.
    pub unknown: u64,
    /// They wait in the queue or for an answer.
    pub pending: u64,
}

impl SpanCounts {
    /// Returns `true` if the collector has confirmed all spans that have ended.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.ended == self.acknowledged
    }
}

impl fmt::Display for SpanCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ended, acknowledged, rejected, dropped, unknown, pending } = self;
        write!(
            f,
            "of {ended} spans, {acknowledged} were acknowledged, {rejected} rejected, {dropped} \
             dropped, {unknown} unknown, {pending} pending"
        )
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The collector has the batch, but for that many spans.
    Acknowledged {
        rejected: u64,
    },
    Rejected,
    NotSent,
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Books {
    state: Mutex<State>,
    closed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ended: u64,
    acknowledged: u64,
    rejected: u64,
    dropped: u64,
    unknown: u64,
    queued: u64,
    sent: u64,
    closed: bool,
    /// The time of the shutdown was up before all was sent.
    late: bool,
    last_error: Option<String>,
}

impl Books {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A span has ended. Returns whether the queue, which has room for `capacity`, takes it.
    pub(super) fn enter(&self, capacity: u64) -> bool {
        self.with(|state| {
            state.ended += 1;
            let accepted = !state.closed && state.queued < capacity;
            match accepted {
                true => state.queued += 1,
                false => state.dropped += 1,
            }
            accepted
        })
    }

    /// Spans leave the queue. Returns whether they are to be sent.
    pub(super) fn take(&self, spans: u64) -> bool {
        self.with(|state| {
            // A processor that is not ours may not have counted them.
            let spans = spans.min(state.queued);
            state.queued -= spans;
            match state.closed {
                true => state.dropped += spans,
                false => state.sent += spans,
            }
            !state.closed
        })
    }

    /// Spans that were taken have found their end.
    pub(super) fn settle(&self, spans: u64, outcome: Outcome) {
        self.with(|state| {
            state.sent = state.sent.saturating_sub(spans);
            match outcome {
                Outcome::Acknowledged { rejected } => {
                    let rejected = rejected.min(spans);
                    state.rejected += rejected;
                    state.acknowledged += spans - rejected;
                }
                Outcome::Rejected => state.rejected += spans,
                Outcome::NotSent => state.dropped += spans,
                Outcome::Unknown => state.unknown += spans,
            }
        });
    }

    /// From here on nothing is sent. `late`: the time was up before all was sent.
    pub(super) fn close(&self, late: bool) {
        self.with(|state| {
            state.closed = true;
            state.late |= late;
        });
        self.closed.notify_all();
    }

    /// Waits until [`close`](Self::close) was called. Returns whether it was.
    pub(super) fn wait_until_closed(&self, limit: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.closed.wait_timeout_while(state, limit, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.with(|state| state.closed)
    }

    pub(super) fn is_late(&self) -> bool {
        self.with(|state| state.late)
    }

    pub(super) fn set_error(&self, error: String) {
        self.with(|state| state.last_error = Some(error));
    }

    pub(super) fn last_error(&self) -> Option<String> {
        self.with(|state| state.last_error.clone())
    }

    pub(super) fn counts(&self) -> SpanCounts {
        self.with(|state| {
            let (dropped, unknown, pending) = match state.closed {
                true => (state.queued, state.sent, 0),
                false => (0, 0, state.queued + state.sent),
            };
            SpanCounts {
                ended: state.ended,
                acknowledged: state.acknowledged,
                rejected: state.rejected,
                dropped: state.dropped + dropped,
                unknown: state.unknown + unknown,
                pending,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(counts: SpanCounts) -> u64 {
        let SpanCounts { acknowledged, rejected, dropped, unknown, pending, .. } = counts;
        acknowledged + rejected + dropped + unknown + pending
    }

    #[test]
    fn the_books_balance_at_every_step_and_after_a_late_answer() {
        let books = Books::default();
        let check = |books: &Books| {
            let counts = books.counts();
            assert_eq!(sum(counts), counts.ended, "{counts}");
            counts
        };
        for _ in 0..10 {
            books.enter(8);
            check(&books);
        }
        assert_eq!(check(&books).dropped, 2);
        assert!(books.take(4));
        books.settle(4, Outcome::Acknowledged { rejected: 1 });
        assert!(books.take(2));
        books.close(false);
        let counts = check(&books);
        assert_eq!((counts.unknown, counts.dropped, counts.pending), (2, 4, 0));
        assert!(!books.take(2), "nothing is sent after the end");
        books.settle(2, Outcome::Acknowledged { rejected: 0 });
        assert!(!books.enter(8));
        let counts = check(&books);
        assert_eq!((counts.acknowledged, counts.rejected), (5, 1));
        assert_eq!((counts.unknown, counts.dropped), (0, 5));
    }
}
