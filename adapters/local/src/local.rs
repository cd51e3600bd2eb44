//! An executor of one thread, as a runtime for core.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures_util::Stream;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer};

use crate::home::AtHome;
use crate::spawner::LocalSpawner;

/// The executor of the thread that this was made on, as a runtime.
///
/// It may be sent, as every runtime may; but tasks are spawned on that thread only. Elsewhere nothing can be spawned, unless there is an
/// [`Inbox`]: what would have to be is not called, and reported as [`RuntimeGone`](rappel_core::FailureCause::RuntimeGone).
///
/// There is no other thread for blocking jobs: each has a turn of the executor to itself, and nothing else of that goes on while it runs. Handlers that are
/// `Send` can have threads all the same: those of a [`CallbackManager`](rappel_core::CallbackManager) on the pair `(local, Threads::new())`, which a
/// [`LocalCallbackManager`](crate::LocalCallbackManager) can [`merge`](crate::LocalCallbackManager::merge).
///
/// `T` is what tells the time: nothing, or a [`Timer`].
#[derive(Clone)]
pub struct Local<T = ()> {
    ways: Arc<Ways>,
    timer: T,
}

/// The ways in which a task comes to the executor.
struct Ways {
    spawner: AtHome<Rc<dyn LocalSpawner>>,
    /// Where other threads leave theirs.
    post: Option<UnboundedSender<BoxFuture<'static, ()>>>,
}

impl Local {
    /// The executor that `spawner` spawns on, on this thread.
    #[must_use]
    pub fn new(spawner: impl LocalSpawner) -> Self {
        Self::build(Rc::new(spawner), None)
    }

    /// The same for programs whose other threads emit, or drop runs: what they spawn comes to this thread through the inbox, and is spawned here.
    pub fn with_inbox(spawner: impl LocalSpawner) -> (Self, Inbox) {
        let (post, posted) = unbounded();
        let spawner: Rc<dyn LocalSpawner> = Rc::new(spawner);
        let inbox = Inbox {
            spawner: spawner.clone(),
            posted,
        };
        (Self::build(spawner, Some(post)), inbox)
    }

    fn build(spawner: Rc<dyn LocalSpawner>, post: Option<UnboundedSender<BoxFuture<'static, ()>>>) -> Self {
        let ways = Ways {
            spawner: AtHome::new(spawner),
            post,
        };
        Self {
            ways: Arc::new(ways),
            timer: (),
        }
    }

    /// Lets `timer` tell the time, which time-outs and `shutdown` need. Whatever is a [`Timer`] will do, another runtime's too.
    #[must_use]
    pub fn with_timer<T: Timer>(self, timer: T) -> Local<T> {
        Local { ways: self.ways, timer }
    }
}

impl<T: Send + Sync + 'static> Spawner for Local<T> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        if let Ok(spawner) = self.ways.spawner.get() {
            return spawner.spawn_local_boxed(task);
        }
        let post = self.ways.post.as_ref().ok_or(SpawnError::shutdown())?;
        post.unbounded_send(task).map_err(|_| SpawnError::shutdown())
    }

    /// Not on the executor's own thread.
    fn may_block(&self) -> bool {
        self.ways.spawner.get().is_err()
    }
}

impl<T: Send + Sync + 'static> BlockingExecutor for Local<T> {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_boxed(Box::pin(async { job() }))
    }

    /// A job that waits would keep the executor from what it waits for.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl<T: Timer> Timer for Local<T> {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.timer.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.timer.now()
    }
}

impl<T> fmt::Debug for Local<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reachable = self.ways.post.is_some();
        f.debug_struct("Local").field("has_inbox", &reachable).finish_non_exhaustive()
    }
}

/// Brings home what other threads spawn on a [`Local`]: a future to be polled on that one's thread, beside whatever else that does.
///
/// It is ready once the last clone of its `Local` is gone, and with that the managers and runs that have one. Dropped before, it leaves other threads without a
/// way home.
#[must_use = "what other threads spawn waits until this is polled"]
pub struct Inbox {
    spawner: Rc<dyn LocalSpawner>,
    posted: UnboundedReceiver<BoxFuture<'static, ()>>,
}

/// How many tasks it brings home before others on the thread get their turn.
const AT_A_TIME: usize = 64;

impl Future for Inbox {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..AT_A_TIME {
            match Pin::new(&mut self.posted).poll_next(cx) {
                // An executor that is gone drops it: what it carries reports what is lost.
                Poll::Ready(Some(task)) => _ = self.spawner.spawn_local_boxed(task),
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}
