//! A [`LaneQueue`] and the [`WaitGroup`] of an emitter: an emitter that waits for room, or for its
//! event to be handled, is woken.

use alloc::sync::Arc;

use loom::sync::atomic::Ordering;
use loom::thread;

use crate::flushes_end::Lane;
use crate::model::{model, wait_for};
use crate::queue::Part;
use crate::util::{WaitGroup, WaitGuard};

/// Emits a run's events to a lane with room for one, and waits each time for as long as it has to.
/// Servers are threads.
fn emit(parts: &[Part], awaited: bool) {
    let lane = Lane::new(1);
    let (seat, group) = (lane.admit(0), Arc::new(WaitGroup::new()));
    let mut servers = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        if let Some(trace) = lane.push(seat, *part, &group, awaited) {
            let server = lane.clone();
            servers.push(thread::spawn(move || server.serve(trace)));
        }
        wait_for(&group);
        if awaited {
            assert_eq!(lane.handled.load(Ordering::Relaxed), number + 1);
        }
    }
    for server in servers {
        server.join().unwrap();
    }
    assert_eq!(lane.handled.load(Ordering::Relaxed), parts.len());
    lane.assert_idle();
}

/// Fails if the room of an event that was taken wakes no emitter, if a guard is dropped before the
/// event is counted, or if a trace whose turn is over gets no server for what came meanwhile.
#[test]
fn that_wait_for_room() {
    model(3, || emit(&[Part::Token, Part::Other, Part::End], false));
}

/// Fails if a call returns without its answer, or if the emitter does not see what the call did.
#[test]
fn that_wait_for_their_calls() {
    model(3, || emit(&[Part::Start, Part::End], true));
}

/// There is room when an event is taken, and not only when its call returns. Fails if the emitter
/// waits for that: the call returns after the emitter has gone on.
#[test]
fn before_a_call_returns() {
    model(3, || {
        let lane = Lane::new(1);
        let (seat, group) = (lane.admit(0), Arc::new(WaitGroup::new()));
        let trace = lane.push(seat, Part::Token, &group, false).unwrap();
        assert!(lane.push(seat, Part::Other, &group, false).is_none());
        let gone_on = Arc::new(WaitGroup::new());
        let guard = WaitGuard::new(&gone_on);
        let server = lane.clone();
        let thread = thread::spawn(move || server.serve_with(trace, || wait_for(&gone_on)));
        wait_for(&group);
        drop(guard);
        if let Some(trace) = lane.push(seat, Part::End, &group, false) {
            lane.serve(trace);
        }
        thread.join().unwrap();
        assert_eq!(lane.handled.load(Ordering::Relaxed), 3);
        lane.assert_idle();
    });
}
