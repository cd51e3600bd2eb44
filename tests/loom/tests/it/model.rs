//! Runs a test in every order.

use core::future::poll_fn;

use crate::time;
use crate::util::WaitGroup;

/// Runs `test` in every order in which a thread is interrupted at most `interruptions` times, apart
/// from the places where it waits.
pub(crate) fn model(interruptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(interruptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        time::reset();
        test();
    });
}

/// Waits as an emitter does. Loom reports a deadlock if the task is not woken.
pub(crate) fn wait_for(group: &WaitGroup) {
    loom::future::block_on(poll_fn(|cx| group.poll(cx)));
}
