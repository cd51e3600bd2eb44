//! Some of the traces, as a whole.

use std::fmt;

use rappel_core::{
    CallbackHandler, Event, EventContext, HandlerError, HandlerOptions, HandlerResult, Interest,
    RunId, SendHandler,
};

use crate::Suited;
use crate::call::{Inner, is_failure, starts_and_ends};
use crate::traces::{Ended, Traces};

/// Passes a handler a share of the traces, each as a whole, and if you like all traces with errors.
///
/// A trace is a root run and all runs under it. The choice is made of the root's id. So two handlers
/// or two processes with the same share choose the same traces.
///
/// ```
/// use rappel_handlers::{Console, Sample, With};
/// use rappel_threads::prelude::*;
///
/// // One trace of a hundred, and all that fail.
/// let sample = Sample::new(Console::stderr(), 0.01).with_errors(10_000);
/// let callbacks = CallbackManager::new(Threads::new()).with(sample);
/// # let _ = callbacks;
/// ```
///
/// # Traces with errors
/// With [`with_errors`](Self::with_errors), the events of the other traces are kept until the trace
/// ends. If a run of the trace fails, the handler gets the kept events in order, and then the rest
/// of the trace as it comes. Every error event counts, also that of a cancelled run. So these events
/// come late. Their [`time`](rappel_core::EventContext::time) is that of their emission.
///
/// # Memory
/// At most `events` events are kept, of all open traces together. If there are more, the tokens of
/// the trace that emits are dropped, and its later ones are not kept: its ends have the text, too. If
/// that is not enough, the trace is given up. A kept event holds a copy of its payload, so a long prompt takes its size.
///
/// # Async handlers
/// It wraps sync handlers only. The kept events of a trace are passed in order, one after the other,
/// while its other runs go on. Async handlers of parallel runs are called side by side, so the latter
/// would have to wait for the former. To sample for an async handler without `with_errors`, use
/// [`Filter::matching`](crate::Filter::matching) and [`RunInfo::root_id`](rappel_core::RunInfo::root_id).
///
/// # Delivery
/// [`With::with`](crate::With::with) registers it as the handler inside it.
///
/// # Failures
/// Those of the handler inside it. If it fails on several kept events, the first failure is
/// reported. A trace that is given up is a failure, too ([`GivenUp`]): one for each trace.
pub struct Sample<H> {
    inner: Inner<H>,
    share: f64,
    kept_at_most: Option<usize>,
    kept: usize,
    traces: Traces<Choice>,
}

/// A trace was given up, because too many events were kept. The handler does not get it, even if
/// one of its runs fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the trace is not kept, because {limit} events are kept already: `with_errors` sets the limit"
)]
#[non_exhaustive]
pub struct GivenUp {
    /// The maximum number of kept events.
    pub limit: usize,
}

enum Choice {
    /// The handler gets the trace.
    Pass,
    /// The handler does not get the trace.
    Skip,
    /// It depends on whether a run fails.
    Keep(Kept),
}

/// The events that are kept of a trace.
#[derive(Default)]
struct Kept {
    events: Vec<(Event, EventContext)>,
    /// There was no room, so tokens are not kept any more.
    without_tokens: bool,
}

impl<H: CallbackHandler> Sample<H> {
    /// Passes a share of the traces: 0 is none, and 1 is all.
    ///
    /// # Panics
    /// If the share is not a number from 0 to 1.
    #[track_caller]
    pub fn new(inner: H, share: f64) -> Self {
        assert!((0.0..=1.0).contains(&share), "the share of traces is {share}: write 0.0 to 1.0");
        Self {
            inner: Inner::new(inner),
            share,
            kept_at_most: None,
            kept: 0,
            traces: Traces::default(),
        }
    }

    /// Also passes all traces in which a run fails. At most `events` events are kept for that.
    #[must_use]
    pub fn with_errors(mut self, events: usize) -> Self {
        self.kept_at_most = Some(events);
        self
    }

    fn choose(&self, root: RunId) -> Choice {
        if is_chosen(root, self.share) {
            return Choice::Pass;
        }
        self.kept_at_most.map_or(Choice::Skip, |_| Choice::Keep(Kept::default()))
    }

    /// Keeps an event, or gives the trace up.
    fn keep(&mut self, event: &Event, cx: &EventContext) -> Result<(), GivenUp> {
        let room = self.kept_at_most.unwrap_or_default();
        let Some(choice) = self.traces.get_mut(cx.id()) else { return Ok(()) };
        let Choice::Keep(kept) = choice else { return Ok(()) };
        let is_token = matches!(event, Event::LlmNewToken(_));
        if self.kept >= room && !kept.without_tokens {
            let before = kept.events.len();
            kept.events.retain(|(event, _)| !matches!(event, Event::LlmNewToken(_)));
            kept.without_tokens = true;
            self.kept -= before - kept.events.len();
        }
        if is_token && kept.without_tokens {
            return Ok(());
        }
        if self.kept >= room {
            self.kept -= kept.events.len();
            *choice = Choice::Skip;
            return Err(GivenUp { limit: room });
        }
        kept.events.push((event.clone(), cx.clone()));
        self.kept += 1;
        Ok(())
    }

    /// Passes what is kept of a trace that has failed, and the rest of it from now on.
    fn release(&mut self, run: RunId) -> HandlerResult {
        let Some(choice) = self.traces.get_mut(run) else { return Ok(()) };
        let Choice::Keep(kept) = choice else { return Ok(()) };
        let events = std::mem::take(&mut kept.events);
        *choice = Choice::Pass;
        self.kept -= events.len();
        let mut result = Ok(());
        for (event, cx) in events {
            let called = self.inner.call(&event, &cx);
            result = result.and(called);
        }
        result
    }
}

/// Whether the trace of `root` belongs to the share.
fn is_chosen(root: RunId, share: f64) -> bool {
    // The finalizer of splitmix64, which is the same in every process.
    let bytes = u128::from_be_bytes(*root.as_bytes());
    let mut hash = (bytes >> 64) as u64 ^ (bytes as u64).rotate_left(32);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    // The upper 53 bits, which a float holds exactly: at least 0, less than 1.
    let point = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    point < share
}

impl<H: CallbackHandler> CallbackHandler for Sample<H> {
    fn name(&self) -> &str {
        self.inner.handler.name()
    }

    fn interest(&self) -> Interest {
        self.inner.interest() | starts_and_ends()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let kind = event.kind();
        if kind.is_start() {
            let choice = self.choose(cx.root_id());
            self.traces.start(cx, || choice);
        }
        let mut result = if is_failure(event) { self.release(cx.id()) } else { Ok(()) };
        let passes = match self.traces.get_mut(cx.id()) {
            Some(Choice::Pass) => true,
            Some(Choice::Keep(_)) => {
                result = self.keep(event, cx).map_err(HandlerError::new);
                false
            }
            Some(Choice::Skip) | None => false,
        };
        if kind.is_end()
            && let Some(Ended::Trace(Choice::Keep(kept))) = self.traces.end(cx.id())
        {
            self.kept -= kept.events.len();
        }
        result.and(if passes { self.inner.call(event, cx) } else { Ok(()) })
    }
}

impl<H: Suited> Suited for Sample<H>
where
    Self: SendHandler,
{
    fn options(&self) -> HandlerOptions {
        self.inner.handler.options()
    }
}

impl<H> fmt::Debug for Sample<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample")
            .field("share", &self.share)
            .field("open_traces", &self.traces.len())
            .field("kept", &self.kept)
            .finish_non_exhaustive()
    }
}
