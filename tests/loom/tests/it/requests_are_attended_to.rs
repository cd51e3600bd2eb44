//! A run's cell (`run/cell.rs`): what a closer, a flush and others leave while an emitter holds the
//! cell is attended to, and each task that waits for the cell is woken.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::task::{Context, Waker};

use loom::future::block_on;
use loom::thread::{self, JoinHandle};

use crate::model::{model, wait_for};
use crate::run::state::Run;
use crate::util::{WaitGroup, WaitGuard};

fn emit(run: &Arc<Run>) -> bool {
    let mut accepted = false;
    block_on(poll_fn(|cx| run.poll_emit(&mut accepted, cx)))
}

fn drive(run: &Arc<Run>) -> JoinHandle<()> {
    let run = run.clone();
    thread::spawn(move || block_on(poll_fn(|cx| run.poll_drive(cx))))
}

fn flush(run: &Arc<Run>) {
    let group = Arc::new(WaitGroup::new());
    run.flush_all(WaitGuard::new(&group));
    wait_for(&group);
}

/// Fails if a flush is lost, or if the emitter is not woken that finds the cell taken by it.
#[test]
fn of_a_flush() {
    model(3, || {
        let run = Run::new();
        let emitter = run.clone();
        let thread = thread::spawn(move || assert!(emit(&emitter)));
        flush(&run);
        thread.join().unwrap();
        assert_eq!(run.handled(), 1);
    });
}

/// Fails if a close is lost, or if neither the emitter nor the driver completes the event.
#[test]
fn of_a_closer() {
    model(3, || {
        let run = Run::new();
        let driver = drive(&run);
        let closer = run.clone();
        let thread = thread::spawn(move || closer.close());
        let accepted = emit(&run);
        thread.join().unwrap();
        driver.join().unwrap();
        assert_eq!(run.handled(), usize::from(accepted));
    });
}

/// Fails if one of the two requests is taken for the other, or hides it.
#[test]
fn of_a_closer_and_a_flush() {
    model(2, || {
        let run = Run::new();
        let driver = drive(&run);
        let (closer, emitter) = (run.clone(), run.clone());
        let closer = thread::spawn(move || closer.close());
        let emitter = thread::spawn(move || emit(&emitter));
        flush(&run);
        closer.join().unwrap();
        driver.join().unwrap();
        let accepted = emitter.join().unwrap();
        assert_eq!(run.handled(), usize::from(accepted));
    });
}

/// Fails if an event that is emitted inside a handler's call is lost, or its driver is not woken.
#[test]
fn of_a_handler_that_emits() {
    model(2, || {
        let run = Run::new();
        let driver = drive(&run);
        let handler = run.clone();
        let thread = thread::spawn(move || handler.send_to_inbox());
        assert!(emit(&run));
        thread.join().unwrap();
        run.close();
        driver.join().unwrap();
        assert_eq!(run.handled(), 2);
    });
}

/// Fails if the event of an emitter that gives up is left to no task, or if the flush is not told
/// when the driver has completed it.
#[test]
fn of_an_emitter_that_gives_up() {
    model(2, || {
        let run = Run::new();
        let driver = drive(&run);
        let emitter = run.clone();
        let thread = thread::spawn(move || {
            let (mut accepted, mut cx) = (false, Context::from_waker(Waker::noop()));
            let _ = emitter.poll_emit(&mut accepted, &mut cx);
            emitter.give_up();
            accepted
        });
        flush(&run);
        let accepted = thread.join().unwrap();
        run.close();
        driver.join().unwrap();
        assert_eq!(run.handled(), usize::from(accepted));
    });
}
