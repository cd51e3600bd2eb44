//! A timer whose time passes only when a test says so.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rappel_core::Timer;
use rappel_core::runtime::BoxFuture;

/// The time, and its sleepers. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct VirtualTime(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    now: Duration,
    sleepers: Vec<(Duration, Waker)>,
    /// The waker of the task that waits for a new sleeper.
    watcher: Option<Waker>,
}

impl VirtualTime {
    /// A clock that stands at 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Advances the time.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now += by;
        let sleepers = std::mem::take(&mut state.sleepers);
        drop(state);
        // A sleeper that is not due registers its waker again.
        sleepers.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Advances the time to each sleeper as soon as it sleeps. The future never ends.
    pub async fn fly(&self) {
        loop {
            self.until_asleep().await;
            let first = self.state().sleepers.iter().map(|(due, _)| *due).min();
            if let Some(due) = first {
                self.advance(due.saturating_sub(self.now()));
            }
        }
    }

    /// Waits until there is a sleeper.
    pub async fn until_asleep(&self) {
        self.until(|state| !state.sleepers.is_empty()).await;
    }

    /// Waits until a sleeper has exactly that long left to sleep.
    pub async fn until_asleep_for(&self, duration: Duration) {
        self.until(|state| state.sleepers.iter().any(|(due, _)| *due == state.now + duration))
            .await;
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        poll_fn(|cx| {
            let mut state = self.state();
            if condition(&state) {
                return Poll::Ready(());
            }
            state.watcher = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for VirtualTime {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let due = self.state().now + duration;
        Box::pin(Sleep { due, time: self.clone() })
    }

    fn now(&self) -> Duration {
        self.state().now
    }
}

struct Sleep {
    due: Duration,
    time: VirtualTime,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.time.state();
        if state.now >= self.due {
            return Poll::Ready(());
        }
        state.sleepers.retain(|(_, waker)| !waker.will_wake(cx.waker()));
        state.sleepers.push((self.due, cx.waker().clone()));
        let watcher = state.watcher.take();
        drop(state);
        if let Some(watcher) = watcher {
            watcher.wake();
        }
        Poll::Pending
    }
}
