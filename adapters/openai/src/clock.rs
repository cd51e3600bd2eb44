//! Time limits and their timer.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rappel_core::Timer;
use rappel_core::runtime::BoxFuture;

use crate::error::OpenAiError;
use crate::limits::{Phase, Times};

/// The timer of `async-io`, whose reactor also drives the sockets. It works on every runtime, and
/// without one.
struct Reactor;

impl Timer for Reactor {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            async_io::Timer::after(duration).await;
        })
    }

    fn now(&self) -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        ORIGIN.elapsed()
    }
}

/// A timer and the limits of each phase.
#[derive(Clone)]
pub(crate) struct Clock {
    timer: Arc<dyn Timer>,
    times: Times,
}

/// A deadline, and the limit that it comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    at: Duration,
    phase: Phase,
    limit: Duration,
}

impl Due {
    fn missed(self) -> OpenAiError {
        OpenAiError::TimedOut { phase: self.phase, limit: self.limit }
    }

    /// The one that comes first.
    pub(crate) fn earlier(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if other.at < one.at { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}

impl Clock {
    pub(crate) fn new(timer: Option<Arc<dyn Timer>>, times: Times) -> Self {
        Self { timer: timer.unwrap_or_else(|| Arc::new(Reactor)), times }
    }

    /// The same clock with other limits.
    pub(crate) fn with_times(&self, change: impl FnOnce(&mut Times)) -> Self {
        let mut clock = self.clone();
        change(&mut clock.times);
        clock
    }

    pub(crate) fn now(&self) -> Duration {
        self.timer.now()
    }

    pub(crate) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.timer.sleep(duration)
    }

    /// The deadline of a phase that begins at `since`. `None` means that there is no limit, or that
    /// the sum overflows.
    pub(crate) fn due(&self, phase: Phase, since: Duration) -> Option<Due> {
        let limit = self.times.of(phase)?;
        Some(Due { at: since.checked_add(limit)?, phase, limit })
    }

    /// Returns `true` if a wait ends before the deadline.
    pub(crate) fn allows(&self, wait: Duration, total: Option<Due>) -> bool {
        total.is_none_or(|due| self.now().saturating_add(wait) < due.at)
    }

    /// The output of `work`, or an error if the phase's limit or `total` is exceeded.
    pub(crate) async fn within<T>(
        &self,
        phase: Phase,
        total: Option<Due>,
        work: impl Future<Output = Result<T, OpenAiError>>,
    ) -> Result<T, OpenAiError> {
        let Some(due) = Due::earlier(self.due(phase, self.now()), total) else {
            return work.await;
        };
        let mut alarm = Alarm::new(self.clone());
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => alarm.poll(cx, Some(due)).map(Err),
        })
        .await
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.times.fmt(f)
    }
}

/// A sleep that is reused while the deadline moves.
///
/// The deadline moves with every packet, and a new sleep for each would cost more than the packet.
/// So the sleep is only replaced if it ends after the deadline. If it ends before, a new one is
/// started then.
pub(crate) struct Alarm {
    clock: Clock,
    sleep: Option<(Duration, BoxFuture<'static, ()>)>,
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, sleep: None }
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Ready with the error once `due` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, due: Option<Due>) -> Poll<OpenAiError> {
        let Some(due) = due else { return Poll::Pending };
        loop {
            let now = self.clock.now();
            if now >= due.at {
                return Poll::Ready(due.missed());
            }
            let (_, sleep) = match &mut self.sleep {
                Some(set) if set.0 <= due.at => set,
                other => other.insert((due.at, self.clock.sleep(due.at - now))),
            };
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
    }

    /// Checks `due` without a sleep.
    pub(crate) fn check(&self, due: Option<Due>) -> Result<(), OpenAiError> {
        match due {
            Some(due) if self.clock.now() >= due.at => Err(due.missed()),
            _ => Ok(()),
        }
    }

    /// The earlier deadline: that of the next packet, or that of the whole call.
    pub(crate) fn next_packet(&self, since: Duration, total: Option<Due>) -> Option<Due> {
        Due::earlier(self.clock.due(Phase::Chunk, since), total)
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarm").field("set", &self.sleep.is_some()).finish()
    }
}
