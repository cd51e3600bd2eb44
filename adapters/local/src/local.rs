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

use crate::spawner::LocalSpawner;
use crate::thread_bound::ThreadBound;

/// The executor of the thread that made this, as a runtime.
///
/// It is `Send`, as every runtime is, but only its own thread can spawn tasks. Other threads need an
/// [`Inbox`]. Without one, a handler that has to be called from another thread is not called, and is
/// reported as [`RuntimeGone`](rappel_core::FailureCause::RuntimeGone).
///
/// Blocking jobs have no other thread. Each runs in a task of its own, and nothing else on the
/// executor runs meanwhile. To call `Send` handlers on other threads, register them with a
/// [`CallbackManager`](rappel_core::CallbackManager) on the pair `(local, rappel_threads::Threads)`,
/// and [`merge`](crate::LocalCallbackManager::merge) it into the local one.
///
/// `T` is the [`Timer`], or `()` without one. [`wait()`](rappel_core::Emit::wait) returns
/// [`WouldBlock`](rappel_core::EmitError::WouldBlock) on the executor's thread.
#[derive(Clone)]
pub struct Local<T = ()> {
    tasks: Arc<Tasks>,
    timer: T,
}

/// The ways of a task to the executor.
struct Tasks {
    spawner: ThreadBound<Rc<dyn LocalSpawner>>,
    /// For the tasks of other threads.
    inbox: Option<UnboundedSender<BoxFuture<'static, ()>>>,
}

impl Local {
    /// The executor of `spawner`, on this thread.
    #[must_use]
    pub fn new(spawner: impl LocalSpawner) -> Self {
        Self::build(Rc::new(spawner), None)
    }

    /// As [`new`](Self::new), for programs whose other threads emit events or drop runs. The tasks
    /// that they spawn go to the inbox, which spawns them on this thread.
    pub fn with_inbox(spawner: impl LocalSpawner) -> (Self, Inbox) {
        let (sender, tasks) = unbounded();
        let spawner: Rc<dyn LocalSpawner> = Rc::new(spawner);
        let inbox = Inbox { spawner: spawner.clone(), tasks };
        (Self::build(spawner, Some(sender)), inbox)
    }

    fn build(
        spawner: Rc<dyn LocalSpawner>,
        inbox: Option<UnboundedSender<BoxFuture<'static, ()>>>,
    ) -> Self {
        let spawner = ThreadBound::new(spawner);
        Self { tasks: Arc::new(Tasks { spawner, inbox }), timer: () }
    }

    /// Adds a timer, for time-outs and `shutdown`. The timer of another runtime works too.
    #[must_use]
    pub fn with_timer<T: Timer>(self, timer: T) -> Local<T> {
        Local { tasks: self.tasks, timer }
    }
}

impl<T: Send + Sync + 'static> Spawner for Local<T> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        if let Ok(spawner) = self.tasks.spawner.get() {
            return spawner.spawn_local_boxed(task);
        }
        let inbox = self.tasks.inbox.as_ref().ok_or(SpawnError::shutdown())?;
        inbox.unbounded_send(task).map_err(|_| SpawnError::shutdown())
    }

    fn may_block(&self) -> bool {
        self.tasks.spawner.get().is_err()
    }
}

impl<T: Send + Sync + 'static> BlockingExecutor for Local<T> {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_boxed(Box::pin(async { job() }))
    }

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
        f.debug_struct("Local")
            .field("has_inbox", &self.tasks.inbox.is_some())
            .finish_non_exhaustive()
    }
}

/// Spawns the tasks of other threads on the thread of a [`Local`]. Poll it there, beside the other
/// work of that thread.
///
/// It is ready when the last clone of the `Local` is gone, and with it all managers and runs that
/// have one. If it is dropped before, other threads cannot spawn tasks any more.
#[must_use = "the tasks of other threads are not spawned unless it is polled"]
pub struct Inbox {
    spawner: Rc<dyn LocalSpawner>,
    tasks: UnboundedReceiver<BoxFuture<'static, ()>>,
}

/// Maximum number of tasks that one poll spawns, so that other futures of the thread get their turn.
const TASKS_PER_POLL: usize = 64;

impl Future for Inbox {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TASKS_PER_POLL {
            match Pin::new(&mut self.tasks).poll_next(cx) {
                // An executor that is gone drops the task, and core reports what is lost.
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
