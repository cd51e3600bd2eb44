//! The thread of one partition.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::WorkerShared;
use super::calls::HandlerCalls;
use super::counts::add;
use super::lease::Lease;
use super::shard::{Shard, Step, StepError};
use crate::broker::Broker;

/// Works on a partition until its lease is stopped or lost.
pub(crate) fn drive(
    shared: &WorkerShared,
    lease: &Arc<Lease>,
    mut shard: Shard,
    mut broker: Box<dyn Broker>,
    mut calls: HandlerCalls,
) {
    let mut pause = Duration::ZERO;
    while !lease.is_stopped() {
        match shard.step(&mut *broker, &mut calls) {
            Ok(step) => {
                pause = Duration::ZERO;
                match step {
                    Step::Went => {}
                    // A handler that is done wakes the thread.
                    Step::Waits => thread::park_timeout(Duration::from_millis(2)),
                    // The read has waited already, unless the lease does not allow calls.
                    Step::Idle => thread::park_timeout(Duration::from_millis(1)),
                }
            }
            Err(StepError::Lost) => break,
            Err(StepError::Broker(error)) => {
                shared.note(error);
                pause = (pause * 2).clamp(Duration::from_millis(5), Duration::from_millis(200));
                thread::park_timeout(pause);
            }
        }
    }
    let lost = !lease.is_stopped();
    // No call starts from here on, apart from the ends of what is handed over.
    lease.stop();
    let finished = calls.hand_over();
    shard.handed_over(finished, &mut calls);
    if lost {
        add(&shared.counts.lost_leases, 1);
        return;
    }
    // If it fails, the lease ends by itself.
    if let Err(StepError::Broker(error)) = shard.end(&mut *broker, &mut calls) {
        shared.note(error);
    }
}
