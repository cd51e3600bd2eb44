//! What a test controls: the time, the number of blocking threads, and gates in handlers.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread;

use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer};
use rappel_tests::held::Grip;
use rappel_tests::virtual_time::VirtualTime;

use super::*;

/// A runtime whose time passes only when the test says so.
#[derive(Clone)]
pub(super) struct Stage {
    rt: Rt,
    /// If there is one, all blocking jobs run on its thread, one after the other.
    jobs: Option<mpsc::Sender<BoxJob>>,
    pub(super) time: VirtualTime,
    work: Arc<Work>,
}

/// What core has given to the runtime.
#[derive(Default)]
struct Work {
    /// Jobs that have not ended, and polls and drops of tasks that are going on.
    busy: AtomicUsize,
    /// Jobs, polls and drops of tasks that have panicked. Most runtimes would hide that.
    panics: AtomicUsize,
}

impl Work {
    /// Does a piece of work that counts as busy already.
    fn go_on<T>(&self, work: impl FnOnce() -> T) -> T {
        let done = catch_unwind(AssertUnwindSafe(work));
        self.panics.fetch_add(usize::from(done.is_err()), Ordering::SeqCst);
        self.busy.fetch_sub(1, Ordering::SeqCst);
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn begin<T>(&self, work: impl FnOnce() -> T) -> T {
        self.busy.fetch_add(1, Ordering::SeqCst);
        self.go_on(work)
    }
}

/// A task whose panics are counted.
struct Task(Option<BoxFuture<'static, ()>>, Arc<Work>);

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self(task, work) = &mut *self;
        work.begin(|| {
            let poll = task.as_mut().unwrap().as_mut().poll(cx);
            if poll.is_ready() {
                *task = None;
            }
            poll
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Self(task, work) = self;
        work.begin(|| *task = None);
    }
}

/// A job whose panics are counted. It counts as busy from the start.
struct Job(Option<BoxJob>, Arc<Work>);

impl Job {
    fn run(mut self) {
        if let Some(job) = self.0.take() {
            self.1.go_on(job);
        }
    }
}

impl Drop for Job {
    /// A job that the runtime has refused.
    fn drop(&mut self) {
        if let Some(job) = self.0.take() {
            self.1.go_on(|| drop(job));
        }
    }
}

impl Stage {
    /// `rt`, with a virtual clock.
    pub(super) fn new(rt: &Rt) -> Self {
        Self { rt: rt.clone(), jobs: None, time: VirtualTime::new(), work: Arc::default() }
    }

    /// The same, with one thread for all blocking jobs.
    pub(super) fn with_one_blocking_thread(rt: &Rt) -> Self {
        let (jobs, work) = mpsc::channel::<BoxJob>();
        thread::spawn(move || work.into_iter().for_each(|job| job()));
        Self { jobs: Some(jobs), ..Self::new(rt) }
    }

    /// A manager without handlers on this runtime.
    pub(super) fn callbacks(&self) -> CallbackManager {
        CallbackManager::new(self.clone())
    }

    /// Asserts, once nothing runs, that no task and no job of core has panicked.
    pub(super) async fn assert_no_panics(&self) {
        while self.work.busy.load(Ordering::SeqCst) > 0 {
            yield_now().await;
        }
        assert_eq!(self.work.panics.load(Ordering::SeqCst), 0, "so many tasks and jobs panicked");
    }

    /// Emits until `grip` holds the handler in the call for `event`, lets that call time out, and
    /// returns what the emit comes to.
    pub(super) async fn time_out<F: Future>(
        &self,
        emit: F,
        (grip, event): (&mut Grip, &str),
        timeout: Duration,
    ) -> F::Output {
        let mut emit = pin!(emit);
        let output = poll_once(&mut emit).await;
        // The time of an awaited handler runs before its call begins, too.
        assert_eq!(grip.entered().await, event);
        self.time.advance(timeout);
        match output {
            Some(output) => output,
            None => emit.await,
        }
    }

    /// Awaits `future` while each sleep ends as soon as it is the next one that is due.
    pub(super) async fn flying<F: Future>(&self, future: F) -> F::Output {
        match select(pin!(future), pin!(self.time.fly())).await {
            Either::Left((output, _)) => output,
            Either::Right(_) => unreachable!("time does not end"),
        }
    }
}

impl Spawner for Stage {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.rt.spawn_boxed(Box::pin(Task(Some(task), self.work.clone())))
    }

    fn may_block(&self) -> bool {
        self.rt.may_block()
    }
}

impl BlockingExecutor for Stage {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        let job = Job(Some(job), self.work.clone());
        self.work.busy.fetch_add(1, Ordering::SeqCst);
        let job = Box::new(move || job.run());
        match &self.jobs {
            Some(jobs) => jobs.send(job).map_err(|_| SpawnError::shutdown()),
            None => self.rt.spawn_blocking_boxed(job),
        }
    }

    fn linger(&self) -> Duration {
        self.rt.linger()
    }
}

impl Timer for Stage {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.time.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.time.now()
    }
}

/// An async handler whose calls for some events wait until the gate is dropped.
pub(super) fn gated(at: fn(&Event) -> bool) -> (impl AsyncCallbackHandler, oneshot::Sender<()>) {
    let (gate, opens) = oneshot::channel();
    let opens = opens.shared();
    let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
        if at(event) {
            let _ = opens.clone().await;
        }
        Ok(())
    });
    (handler, gate)
}
