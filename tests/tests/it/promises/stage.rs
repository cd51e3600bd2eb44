//! What a test controls: the time, the number of blocking threads, and gates in handlers.

use std::pin::pin;
use std::sync::mpsc;
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
}

impl Stage {
    /// `rt`, with a virtual clock.
    pub(super) fn new(rt: &Rt) -> Self {
        Self { rt: rt.clone(), jobs: None, time: VirtualTime::new() }
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
        self.rt.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.rt.may_block()
    }
}

impl BlockingExecutor for Stage {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
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
