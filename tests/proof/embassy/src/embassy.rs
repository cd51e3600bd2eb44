//! embassy, as a runtime for rappel.

use alloc::boxed::Box;
use core::time::Duration;

use embassy_executor::SendSpawner;
use embassy_time::{Instant, Timer as EmbassyTimer};
use rappel_core::runtime::{BlockingExecutor, BoxFuture, BoxJob, SpawnError, Spawner, Timer};

/// embassy places its tasks at compile time. This is the maximum number of rappel's tasks at a time.
#[embassy_executor::task(pool_size = 16)]
async fn task(future: BoxFuture<'static, ()>) {
    future.await;
}

/// An executor of embassy.
#[derive(Clone)]
pub struct Embassy(pub SendSpawner);

impl Spawner for Embassy {
    fn spawn_boxed(&self, future: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn(task(future).map_err(|_| SpawnError::shutdown())?);
        Ok(())
    }
}

impl BlockingExecutor for Embassy {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.spawn_boxed(Box::pin(async { job() }))
    }

    fn linger(&self) -> Duration {
        Duration::ZERO
    }
}

impl Timer for Embassy {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let millis = u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Box::pin(EmbassyTimer::after_millis(millis))
    }

    fn now(&self) -> Duration {
        Duration::from_micros(Instant::now().as_micros())
    }
}
