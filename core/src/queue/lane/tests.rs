use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::*;
use crate::handler::Overflow;

/// An event with a text.
#[derive(Debug, Clone, PartialEq)]
struct Event(Part, String);

impl Item for Event {
    fn part(&self) -> Part {
        self.0
    }

    fn accepts(&self, newer: &Self) -> bool {
        (self.0, newer.0) == (Part::Token, Part::Token)
    }

    fn coalesce(&mut self, newer: Self) {
        self.1 += &newer.1;
    }
}

type Queue = LaneQueue<Event, &'static str, char>;

fn queue(capacity: u32, overflow: Overflow) -> Queue {
    let waits = overflow == Overflow::Wait;
    LaneQueue::new(Limits { capacity, open_traces: 2, overflow, waits })
}

fn admit(queue: &mut Queue, trace: usize) -> usize {
    queue.admit(trace, false, "run").expect("there is room for the trace")
}

/// Queues an event. An emitter that has to wait for room is called 'w'.
fn push(queue: &mut Queue, seat: usize, part: Part, text: &str) -> Push<Event, char> {
    let push = queue.push(
        seat,
        (Event(part, text.to_string()), part),
        (None, u64::MAX),
        Some(|| Some('w')),
    );
    if let Some(trace) = push.ready {
        queue.schedule(trace);
    }
    push
}

/// Serves the next trace to its end. Returns the texts, and how many events were lost before each.
fn serve(queue: &mut Queue) -> Vec<(String, u32)> {
    let mut served = Vec::new();
    let Some(trace) = queue.next_trace() else { return served };
    let mut batch = Batch::default();
    loop {
        let mut released = Released::default();
        queue.take(trace, 1, &mut batch, &mut released.holds);
        while let Some(taken) = batch.next() {
            served.push((taken.item.1, taken.entry.dropped));
        }
        batch.clear();
        queue.finish(&mut batch, &mut released);
        if !queue.end_turn(trace) {
            return served;
        }
    }
}

fn texts(served: Vec<(String, u32)>) -> Vec<String> {
    served.into_iter().map(|(text, _)| text).collect()
}

/// What is let go when so many events of the next trace have been handled.
fn released_by_serving(queue: &mut Queue, events: usize) -> Vec<char> {
    let trace = queue.next_trace().expect("a trace has something");
    let (mut batch, mut released) = (Batch::default(), Released::default());
    queue.take(trace, events, &mut batch, &mut released.holds);
    while batch.next().is_some() {}
    queue.finish(&mut batch, &mut released);
    if queue.end_turn(trace) {
        queue.schedule(trace);
    }
    released.holds
}

#[test]
fn a_trace_is_first_in_first_out_over_its_runs() {
    let mut queue = queue(8, Overflow::Wait);
    let (parent, child) = (admit(&mut queue, 1), admit(&mut queue, 1));
    push(&mut queue, parent, Part::Start, "a");
    push(&mut queue, child, Part::Start, "b");
    push(&mut queue, parent, Part::Token, "c");
    push(&mut queue, child, Part::End, "d");
    assert_eq!(texts(serve(&mut queue)), ["a", "b", "c", "d"]);
    assert_eq!((queue.open_runs(), queue.open_events()), (1, 0));
}

#[test]
fn traces_take_turns() {
    let mut queue = queue(8, Overflow::Wait);
    let (one, two) = (admit(&mut queue, 1), admit(&mut queue, 2));
    push(&mut queue, two, Part::Start, "b");
    push(&mut queue, one, Part::Start, "a");
    push(&mut queue, two, Part::Token, "c");
    assert_eq!(texts(serve(&mut queue)), ["b", "c"]);
    assert_eq!(texts(serve(&mut queue)), ["a"]);
}

#[test]
fn a_trace_is_open_while_a_run_of_it_is() {
    let mut queue = queue(8, Overflow::DropNewest);
    let (one, _two) = (admit(&mut queue, 1), admit(&mut queue, 2));
    assert!(queue.admit(3, false, "run").is_none());
    push(&mut queue, one, Part::Start, "a");
    assert_eq!(texts(serve(&mut queue)), ["a"]);
    assert!(queue.admit(3, false, "run").is_none(), "an idle trace is open");
    push(&mut queue, one, Part::End, "b");
    assert_eq!(texts(serve(&mut queue)), ["b"]);
    assert!(queue.admit(3, false, "run").is_some());
}

#[test]
fn an_emitter_waits_until_there_is_room() {
    let mut queue = queue(2, Overflow::Wait);
    let run = admit(&mut queue, 1);
    for text in ["a", "b", "c"] {
        push(&mut queue, run, Part::Token, text);
    }
    assert_eq!(released_by_serving(&mut queue, 1), ['w']);
    assert_eq!(texts(serve(&mut queue)), ["b", "c"]);
}

#[test]
fn the_emitter_of_an_unwanted_end_waits_for_the_events_before_it() {
    let mut queue = queue(2, Overflow::Wait);
    let run = admit(&mut queue, 1);
    push(&mut queue, run, Part::Token, "a");
    push(&mut queue, run, Part::Token, "b");
    let mut released = Released::default();
    queue.leave(run, Some('e'), &mut released);
    assert!(released.holds.is_empty() && released.runs.is_empty());
    assert!(released_by_serving(&mut queue, 1).is_empty(), "one event is left");
    assert_eq!(released_by_serving(&mut queue, 1), ['e']);
    assert_eq!(queue.open_runs(), 0);
}

#[test]
fn tokens_are_joined_but_not_across_another_event_of_their_run() {
    let mut queue = queue(2, Overflow::Coalesce);
    let run = admit(&mut queue, 1);
    for text in ["a", "b", "c"] {
        push(&mut queue, run, Part::Token, text);
    }
    push(&mut queue, run, Part::Other, "other");
    push(&mut queue, run, Part::Token, "d");
    push(&mut queue, run, Part::Token, "e");
    assert_eq!(texts(serve(&mut queue)), ["abc", "other", "de"]);
}

#[test]
fn a_queue_that_another_trace_has_used_joins_as_a_new_one() {
    let mut queue = queue(1, Overflow::Coalesce);
    let (one, two) = (admit(&mut queue, 1), admit(&mut queue, 2));
    // The position of this event is kept in the run, long after the queue was emptied.
    for text in ["a", "b", "c"] {
        push(&mut queue, one, Part::Start, text);
    }
    assert_eq!(texts(serve(&mut queue)), ["a", "b", "c"]);
    push(&mut queue, two, Part::Start, "d");
    assert_eq!(texts(serve(&mut queue)), ["d"]);
    for text in ["e", "f", "g"] {
        push(&mut queue, one, Part::Token, text);
    }
    assert_eq!(texts(serve(&mut queue)), ["efg"]);
}

#[test]
fn a_dropped_token_is_told_by_the_next_event() {
    let mut queue = queue(1, Overflow::DropOldest);
    let run = admit(&mut queue, 1);
    push(&mut queue, run, Part::Token, "a");
    let pushed = push(&mut queue, run, Part::Token, "b");
    assert!(pushed.rare.is_some_and(|rare| rare.evicted.is_some()));
    push(&mut queue, run, Part::End, "end");
    assert_eq!(serve(&mut queue), [("b".to_string(), 1), ("end".to_string(), 0)]);
}

#[test]
fn a_start_and_an_end_always_have_room() {
    let mut queue = queue(1, Overflow::DropNewest);
    let run = admit(&mut queue, 1);
    push(&mut queue, run, Part::Start, "start");
    push(&mut queue, run, Part::Token, "a");
    let lost = push(&mut queue, run, Part::Token, "b").rare.and_then(|rare| rare.lost);
    assert!(lost.is_some_and(|lost| !lost.stuck));
    push(&mut queue, run, Part::End, "end");
    let served = serve(&mut queue);
    assert_eq!(served.last(), Some(&("end".to_string(), 1)));
    assert_eq!(texts(served), ["start", "a", "end"]);
}

#[test]
fn what_waits_for_a_stuck_call_is_lost_but_starts_and_ends_are_not() {
    let mut queue = queue(8, Overflow::Wait);
    let (one, two) = (admit(&mut queue, 1), admit(&mut queue, 2));
    push(&mut queue, one, Part::Token, "a");
    push(&mut queue, two, Part::Start, "start");
    push(&mut queue, two, Part::Token, "b");
    let trace = queue.next_trace().expect("the first run's trace");
    let (mut batch, mut holds) = (Batch::default(), Vec::new());
    queue.take(trace, 1, &mut batch, &mut holds);
    assert!(batch.next().is_some());
    // The call for "a" does not return.
    let given_up = queue.give_up();
    assert_eq!(given_up.lost, [Event(Part::Token, "b".to_string())]);
    assert!(queue.admit(1, false, "run").is_none(), "a stuck lane takes no run");
    push(&mut queue, two, Part::End, "end");
    queue.finish(&mut batch, &mut Released::default());
    assert!(!queue.end_turn(trace));
    assert_eq!(serve(&mut queue), [("start".to_string(), 0), ("end".to_string(), 1)]);
}

#[test]
fn an_emitter_whose_time_is_up_is_let_go() {
    let mut queue = queue(8, Overflow::Wait);
    let run = admit(&mut queue, 1);
    let event = |text: &str| (Event(Part::Token, text.to_string()), Part::Token);
    let wait = || Some('w');
    queue.push(run, event("a"), (Some('a'), 10), Some(wait));
    queue.push(run, event("b"), (Some('b'), 20), Some(wait));
    let (mut released, mut told) = (Released::default(), Vec::new());
    let next = queue.expire(15, &mut released, |_, event| told.push(event.1.clone()));
    assert_eq!((next, released.holds, told), (20, Vec::from(['a']), Vec::from(["a".to_string()])));
}

#[test]
fn what_no_server_will_take_is_given_up_whole() {
    let mut queue = queue(1, Overflow::Wait);
    let (one, two) = (admit(&mut queue, 1), admit(&mut queue, 2));
    push(&mut queue, one, Part::Token, "a");
    push(&mut queue, one, Part::Token, "b");
    push(&mut queue, two, Part::End, "end");
    let mut released = Released::default();
    let abandoned = queue.abandon(None, &mut released);
    let abandoned: Vec<_> = abandoned.into_iter().map(|event| event.item.1).collect();
    assert_eq!(abandoned, ["a", "b", "end"]);
    assert_eq!(released.holds, ['w'], "the emitter that waited for room");
    assert_eq!((queue.open_runs(), queue.open_events()), (1, 0));
    assert!(!queue.has_ready());
}

#[test]
fn an_idle_lane_gives_back_what_a_burst_needed() {
    let mut queue = queue(1024, Overflow::Wait);
    let run = admit(&mut queue, 1);
    for _ in 0..1000 {
        push(&mut queue, run, Part::Token, "a");
    }
    assert_eq!(serve(&mut queue).len(), 1000);
    assert!(queue.spare.as_ref().is_some_and(|spare| spare.capacity() > 900));
    queue.shrink();
    assert!(queue.spare.is_none());
    assert!(!queue.is_unused(), "a run is open");
    queue.leave(run, None, &mut Released::default());
    assert!(queue.is_unused());
}

#[test]
fn a_queue_whose_trace_has_a_server_is_in_use() {
    let mut queue = queue(8, Overflow::Wait);
    let run = admit(&mut queue, 1);
    push(&mut queue, run, Part::End, "end");
    let trace = queue.next_trace().expect("the trace has something");
    let (mut batch, mut released) = (Batch::default(), Released::default());
    queue.take(trace, 1, &mut batch, &mut released.holds);
    assert!(batch.next().is_some());
    queue.finish(&mut batch, &mut released);
    assert_eq!((queue.open_runs(), queue.open_events()), (0, 0));
    assert!(!queue.is_unused(), "the server comes back with the trace's key");
    assert!(!queue.end_turn(trace));
    assert!(queue.is_unused());
}

#[test]
fn the_oldest_token_of_those_that_are_left_makes_room() {
    let mut queue = queue(70, Overflow::DropOldest);
    let run = admit(&mut queue, 1);
    for number in 0..70 {
        push(&mut queue, run, Part::Token, &number.to_string());
    }
    let trace = queue.next_trace().expect("the trace has something");
    let (mut batch, mut released) = (Batch::default(), Released::default());
    // The first call begins, and the others of the block wait for it.
    queue.take(trace, 64, &mut batch, &mut released.holds);
    push(&mut queue, run, Part::Token, "70");
    let pushed = push(&mut queue, run, Part::Token, "71");
    let evicted = pushed.rare.and_then(|rare| rare.evicted);
    assert_eq!(evicted, Some(Event(Part::Token, "64".to_string())));
    let mut handled = 0;
    while batch.next().is_some() {
        handled += 1;
    }
    batch.clear();
    queue.finish(&mut batch, &mut released);
    assert!(queue.end_turn(trace));
    queue.schedule(trace);
    let served = serve(&mut queue);
    assert_eq!(handled + served.len(), 71);
    assert_eq!(served.first(), Some(&("65".to_string(), 1)), "it says that one was dropped");
}

#[test]
fn a_batch_says_whose_each_event_is() {
    let mut queue = queue(8, Overflow::Wait);
    let runs = ["a", "b", "c"].map(|name| queue.admit(1, false, name).expect("there is room"));
    for (run, text) in [(0, "1"), (0, "2"), (1, "3"), (2, "4"), (0, "5"), (0, "6")] {
        push(&mut queue, runs[run], Part::Other, text);
    }
    let trace = queue.next_trace().expect("the trace has something");
    let (mut batch, mut released) = (Batch::default(), Released::default());
    queue.take(trace, 64, &mut batch, &mut released.holds);
    let (mut whose, mut run) = (Vec::new(), None);
    while let Some(taken) = batch.next() {
        run = taken.shared.or(run);
        whose.extend(run.map(|run| (run, taken.item.1)));
    }
    let expected = [("a", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("a", "5"), ("a", "6")];
    assert_eq!(whose, expected.map(|(run, text)| (run, text.to_string())));
    batch.clear();
    queue.finish(&mut batch, &mut released);
    assert_eq!(queue.open_events(), 0);
}

#[test]
fn an_emitter_is_let_go_when_the_first_call_of_a_batch_begins() {
    let mut queue = queue(4, Overflow::Wait);
    let run = admit(&mut queue, 1);
    for _ in 0..5 {
        push(&mut queue, run, Part::Token, "a");
    }
    let trace = queue.next_trace().expect("the trace has something");
    let (mut batch, mut released) = (Batch::default(), Vec::new());
    queue.take(trace, 64, &mut batch, &mut released);
    assert_eq!(released, ['w'], "four wait, and the first is being handled");
}

#[test]
fn a_block_that_was_dropped_whole_hides_nothing() {
    let mut queue = queue(64, Overflow::DropOldest);
    let (one, two) = (admit(&mut queue, 1), admit(&mut queue, 1));
    for (run, text) in [(one, "a"), (two, "b"), (one, "c")] {
        for _ in 0..64 {
            push(&mut queue, run, Part::Token, text);
        }
    }
    // All that the first block had has made room.
    let trace = queue.next_trace().expect("the trace has something");
    let (mut batch, mut released) = (Batch::default(), Vec::new());
    queue.take(trace, 64, &mut batch, &mut released);
    let first = batch.next().map(|taken| taken.item.1);
    assert_eq!(first.as_deref(), Some("b"));
}
