//! The handlers of a program: they write down what they see, and fail where the program says so.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rappel_core::{
    AsyncCallbackHandler, CallbackHandler, CallbackManager, EmitError, Event, EventKind, FailureCause, HandlerError, HandlerFuture,
    HandlerOptions, HandlerResult, Interest, RunInfo,
};

use super::log::Log;
use super::program::{HandlerKind, HandlerSpec};

/// Registers the handler that `spec` describes, as the manager's next one.
pub(super) fn register(callbacks: CallbackManager, spec: HandlerSpec, place: usize, log: &Arc<Log>) -> CallbackManager {
    let options = HandlerOptions::new()
        .name(&*spec.id)
        .run_inline(spec.run_inline)
        .inherit(spec.inherit)
        .raise_error(spec.raise_error);
    let kind = spec.kind;
    let recorder = Recorder {
        rank: Rank {
            waits_for_inline: !spec.run_inline,
            place,
        },
        fail_on: spec
            .fail_on
            .into_iter()
            .map(|(method, call)| (method, Countdown::new(call)))
            .collect(),
        id: spec.id,
        implements: spec.implements,
        interest: spec.interest,
        log: log.clone(),
    };
    match kind {
        HandlerKind::Sync => callbacks.with_handler_options(recorder, options),
        HandlerKind::Async => callbacks.with_async_handler_options(recorder, options),
    }
}

struct Recorder {
    id: String,
    rank: Rank,
    implements: Interest,
    interest: Interest,
    fail_on: BTreeMap<EventKind, Countdown>,
    log: Arc<Log>,
}

impl Recorder {
    fn see(&self, event: &Event, run: &RunInfo) -> HandlerResult {
        let method = event.kind();
        if !self.implements.contains(method) {
            return Err(HandlerError::unhandled());
        }
        self.log.write(self.rank.place, &self.id, event, run);
        match self.fail_on.get(&method) {
            Some(calls) if calls.is_over() => Err(self.failed(method).into()),
            _ => Ok(()),
        }
    }

    fn failed(&self, method: EventKind) -> Failed {
        Failed {
            rank: self.rank,
            message: format!("{} failed in {method}", self.id),
        }
    }
}

impl CallbackHandler for Recorder {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        self.see(event, run)
    }
}

impl AsyncCallbackHandler for Recorder {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        HandlerFuture::new(async { self.see(event, run) })
    }
}

/// Counts the calls of a method. Atomic, since the runs of a batch call an async handler at the same time.
struct Countdown {
    fails_at: u64,
    calls: AtomicU64,
}

impl Countdown {
    fn new(fails_at: u64) -> Self {
        let calls = AtomicU64::new(0);
        Self { fails_at, calls }
    }

    /// Counts one more call; true at the one that is to fail.
    fn is_over(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.fails_at
    }
}

/// Where a handler stands among those whose failures come back: inline ones before the others, each in the order of registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    waits_for_inline: bool,
    place: usize,
}

impl Rank {
    /// The rank of the handler that failed; `None` where what failed was not a handler's doing.
    pub(super) fn of(error: &EmitError) -> Option<Self> {
        match &error.failure()?.cause {
            FailureCause::Error(error) => error.downcast_ref::<Failed>().map(|failed| failed.rank),
            _ => None,
        }
    }
}

/// What a handler fails with: it knows its rank, since of a batch only the first failure counts.
#[derive(Debug)]
struct Failed {
    rank: Rank,
    message: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failed {}
