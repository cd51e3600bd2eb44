//! Runs a test in every order.

use core::future::poll_fn;

use crate::latch::Latch;
use crate::time;

/// Runs `test` in every order in which a thread is interrupted at most `interruptions` times, beside where it waits.
pub(crate) fn model(interruptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        time::reset();
        test();
    });
}

/// Waits as an emitter does.
pub(crate) fn wait_for(latch: &Latch) {
    loom::future::block_on(poll_fn(|cx| latch.poll(cx)));
}
