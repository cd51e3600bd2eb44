//! The handlers of a program. They log their calls, and fail where the program says so.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rappel_core::{
    AsyncCallbackHandler, Awaited, CallbackHandler, CallbackManager, EmitError, Event,
    EventContext, EventKind, FailureCause, HandlerError, HandlerFuture, HandlerOptions,
    HandlerResult, Interest,
};

use super::log::Log;
use super::program::{HandlerKind, HandlerSpec};

/// Registers the handler that `spec` describes.
pub(super) fn register(
    callbacks: CallbackManager,
    spec: HandlerSpec,
    place: usize,
    log: &Arc<Log>,
) -> CallbackManager {
    let mut delivery = Awaited::new();
    if spec.run_inline {
        delivery = delivery.inline();
    }
    if spec.raise_error {
        delivery = delivery.raise_error();
    }
    let options = HandlerOptions::new().name(&*spec.id).delivery(delivery).inherit(spec.inherit);
    let kind = spec.kind;
    let recorder = Recorder {
        rank: Rank { waits_for_inline: !spec.run_inline, place },
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
    fn see(&self, event: &Event, cx: &EventContext) -> HandlerResult {
        let method = event.kind();
        if !self.implements.contains(method) {
            return Err(HandlerError::unhandled());
        }
        self.log.write(self.rank.place, &self.id, event, cx.run());
        match self.fail_on.get(&method) {
            Some(calls) if calls.is_over() => Err(self.failed(method).into()),
            _ => Ok(()),
        }
    }

    fn failed(&self, method: EventKind) -> Failed {
        Failed { rank: self.rank, message: format!("{} failed in {method}", self.id) }
    }
}

impl CallbackHandler for Recorder {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.see(event, cx)
    }
}

impl AsyncCallbackHandler for Recorder {
    fn interest(&self) -> Interest {
        self.interest
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async { self.see(event, cx) })
    }
}

/// Counts the calls of a method. Atomic, because async handlers have `&self`.
struct Countdown {
    fails_at: u64,
    calls: AtomicU64,
}

impl Countdown {
    fn new(fails_at: u64) -> Self {
        let calls = AtomicU64::new(0);
        Self { fails_at, calls }
    }

    /// Counts one more call. Returns `true` for the call that must fail.
    fn is_over(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.fails_at
    }
}

/// The order of handlers whose failures come back to the emitter: inline ones first, then the
/// others, each in the order of registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    waits_for_inline: bool,
    place: usize,
}

impl Rank {
    /// The rank of the handler that failed, or `None` if no handler of a program failed.
    pub(super) fn of(error: &EmitError) -> Option<Self> {
        match &error.failure()?.cause {
            FailureCause::Error(error) => error.downcast_ref::<Failed>().map(|failed| failed.rank),
            _ => None,
        }
    }
}

/// A handler's error. It carries the rank, because only a batch's first failure counts.
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
