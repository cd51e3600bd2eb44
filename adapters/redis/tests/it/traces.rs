//! What becomes of traces.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rappel_redis::{OnHandlerError, RedisAdmin, RedisPublisher, partition_of};
use rappel_threads::prelude::*;
use rappel_threads::{Delivery, RunId, json};

use crate::scene::{Log, add, play, publish, publisher, start, with, worker};
use crate::support::{Server, wait_until};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_worker_hands_out_what_was_emitted() {
    let Some(server) = Server::start(&[]) else { return };
    let (here, there) = (Log::default(), Log::default());
    let callbacks = publisher(&server.url()).with_handler(here.handler());
    let running = start(worker(&server.url()), with(&there));
    for _ in 0..20 {
        play(&callbacks, 5);
    }
    assert!(callbacks.shutdown(10 * SECOND).wait().unwrap().is_clean());
    wait_until("20 traces", || running.handle.counts().whole == 20);
    let counts = running.stop();
    assert_eq!(there.by_run(), here.by_run());
    assert_eq!(counts.records, 20 * 9);
    let first = there.all().remove(0);
    let delivery = first.delivery.unwrap();
    assert_eq!(delivery.partition, partition_of(first.root, 4));
    assert_eq!((delivery.epoch, delivery.attempt, delivery.replayed), (1, 1, false));
    assert!(here.all().iter().all(|seen| seen.delivery.is_none()));
    // All is acknowledged and trimmed, but for what a node of the stream keeps.
    let lag = RedisAdmin::new(server.url(), "rappel").unwrap().lag("default").unwrap();
    assert!(lag.iter().all(|lag| lag.behind == 0 && lag.owner.is_none()), "{lag:?}");
}

#[test]
fn an_open_trace_is_handed_over_and_replayed_whole() {
    let Some(server) = Server::start(&[]) else { return };
    let callbacks = publisher(&server.url());
    let (first, second) = (Log::default(), Log::default());
    let running = start(worker(&server.url()), with(&first));
    let mut chain = callbacks.on_chain_start(ChainStart::new("answer", json!(1))).wait().unwrap();
    chain.on_text("half").wait().unwrap();
    wait_until("the first half", || first.all().len() == 2);
    let counts = running.stop();
    assert_eq!(counts.handed_over, 1);
    let end = first.root_ends().remove(0);
    assert_eq!(end.error.as_deref(), Some("handed_over"));
    assert!(end.made_up && end.delivery.is_some_and(|delivery| delivery.epoch == 1));
    let running = start(worker(&server.url()), with(&second));
    chain.on_text("more").wait().unwrap();
    chain.end(json!(2)).wait().unwrap();
    wait_until("the trace", || running.handle.counts().whole == 1);
    running.stop();
    let kinds: Vec<_> = second.all().into_iter().map(|seen| seen.kind).collect();
    assert_eq!(kinds, ["on_chain_start", "on_text", "on_text", "on_chain_end"]);
    let delivery = second.all()[0].delivery.unwrap();
    assert_eq!((delivery.epoch, delivery.attempt, delivery.replayed), (2, 2, true));
    callbacks.shutdown(SECOND).wait().unwrap();
}

#[test]
fn a_trace_whose_workers_are_stopped_is_replayed_each_time_and_never_a_dead_letter() {
    let Some(server) = Server::start(&[]) else { return };
    let callbacks = publisher(&server.url());
    let chain = callbacks.on_chain_start(ChainStart::new("answer", json!(1))).wait().unwrap();
    for number in 1..=4 {
        let log = Log::default();
        let running = start(worker(&server.url()).max_attempts(2), with(&log));
        wait_until("the start", || !log.all().is_empty());
        let delivery = log.all()[0].delivery.unwrap();
        assert_eq!((delivery.attempt, delivery.replayed), (number, number > 1));
        assert_eq!(running.stop().dead_traces, 0);
    }
    chain.end(json!(2)).wait().unwrap();
    let running = start(worker(&server.url()).max_attempts(2), with(&Log::default()));
    wait_until("the trace", || running.handle.counts().whole == 1);
    running.stop();
    callbacks.shutdown(SECOND).wait().unwrap();
}

#[test]
fn a_background_handler_has_handled_the_end_before_the_trace_is_acknowledged() {
    let Some(server) = Server::start(&[]) else { return };
    publish(&server.url(), 1);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let ends = Arc::new(AtomicUsize::new(0));
    let counted = ends.clone();
    let slow = handler_fn(move |event: &Event, cx: &EventContext| {
        if event.kind().is_end() && cx.parent_id().is_none() {
            let _ = gate.recv();
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    let log = Log::default();
    let callbacks = with(&log).with_handler_options(slow, Delivery::background(64));
    let running = start(worker(&server.url()), callbacks);
    wait_until("the end at the other handler", || log.root_ends().len() == 1);
    let lag = || RedisAdmin::new(server.url(), "rappel").unwrap().lag("default").unwrap();
    assert_eq!(running.handle.counts().whole, 0);
    assert_eq!(lag().iter().map(|lag| lag.behind).sum::<u64>(), 5);
    release.send(()).unwrap();
    wait_until("the trace", || running.handle.counts().whole == 1);
    assert_eq!(ends.load(Ordering::SeqCst), 1);
    wait_until("the position", || lag().iter().all(|lag| lag.behind == 0));
    running.stop();
}

#[test]
fn a_trace_is_begun_again_if_a_handler_fails() {
    let Some(server) = Server::start(&[]) else { return };
    publish(&server.url(), 1);
    let failures = Arc::new(AtomicUsize::new(2));
    let left = failures.clone();
    let fails = handler_fn(move |event: &Event, _: &EventContext| {
        let fails = event.kind().is_end()
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails { Err("not now".into()) } else { Ok(()) }
    });
    let log = Log::default();
    let reported = Arc::new(AtomicUsize::new(0));
    let report = reported.clone();
    let callbacks = with(&log).with_handler(fails).on_handler_failure(move |_| {
        report.fetch_add(1, Ordering::SeqCst);
    });
    let worker = worker(&server.url()).on_handler_error(OnHandlerError::Retry(3));
    let running = start(worker, callbacks);
    wait_until("the trace", || running.handle.counts().whole == 1);
    let counts = running.stop();
    // Both ends of the first replay fail.
    assert_eq!((counts.failures, counts.retried), (2, 1));
    assert_eq!(reported.load(Ordering::SeqCst), 2, "the program's own report is called, too");
    let attempts: Vec<_> = log.root_ends().iter().map(|seen| seen.delivery.unwrap()).collect();
    assert_eq!(
        attempts.iter().map(|d| (d.attempt, d.replayed)).collect::<Vec<_>>(),
        [(1, false), (2, true)]
    );
}

#[test]
fn a_handler_that_does_not_answer_stops_no_other_trace() {
    let Some(server) = Server::start(&[]) else { return };
    let callbacks = publisher(&server.url());
    for _ in 0..4 {
        play(&callbacks, 0);
    }
    callbacks.shutdown(10 * SECOND).wait().unwrap();
    let log = Log::default();
    let first = Arc::new(AtomicUsize::new(0));
    let hangs = async_handler_fn(async move |event: &Event, _: &EventContext| {
        if event.kind().is_start() && first.fetch_add(1, Ordering::SeqCst) == 0 {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let callbacks = with(&log).with_async_handler(hangs);
    let worker = worker(&server.url()).handler_timeout(Duration::from_millis(300));
    let running = start(worker, callbacks);
    wait_until("the traces", || {
        let counts = running.handle.counts();
        counts.whole == 3 && counts.timed_out >= 1
    });
    running.stop();
}

#[test]
fn a_background_handler_that_hangs_holds_acknowledgements_up_once() {
    let Some(server) = Server::start(&[]) else { return };
    let publisher = RedisPublisher::new(server.url()).partitions(1).build().unwrap();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let hangs = handler_fn(move |_: &Event, _: &EventContext| {
        let _ = gate.recv();
        Ok(())
    });
    let log = Log::default();
    let manager = with(&log).with_handler_options(hangs, Delivery::background(64));
    let worker = worker(&server.url()).handler_timeout(Duration::from_millis(200));
    let running = start(worker, manager);
    for number in 1..=3 {
        play(&callbacks, 1);
        wait_until("the trace", || running.handle.counts().whole == number);
    }
    assert_eq!(running.handle.counts().timed_out, 1);
    drop(release);
    running.stop();
    callbacks.shutdown(SECOND).wait().unwrap();
}

#[test]
fn a_worker_stops_although_a_handler_in_its_lane_hangs() {
    let Some(server) = Server::start(&[]) else { return };
    publish(&server.url(), 1);
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let (begun, begins) = std::sync::mpsc::channel();
    let hangs = handler_fn(move |_: &Event, _: &EventContext| {
        let _ = begun.send(());
        let _ = gate.recv();
        Ok(())
    });
    let manager = CallbackManager::new(Threads::new()).with_handler(hangs);
    let worker = worker(&server.url()).handler_timeout(Duration::from_millis(200));
    let running = start(worker, manager);
    begins.recv().unwrap();
    // It returns while the call is still in flight.
    let counts = running.stop();
    drop(release);
    assert_eq!((counts.timed_out, counts.handed_over), (1, 0));
    let lag = RedisAdmin::new(server.url(), "rappel").unwrap().lag("default").unwrap();
    assert!(lag.iter().all(|lag| lag.behind == 0), "the trace is given up: {lag:?}");
}

/// Keys of streams, each with the fields of an entry.
type Entries = Vec<(String, Vec<(String, String)>)>;

/// The entries that a publisher makes of one trace, without their ids.
fn entries(server: &Server) -> Entries {
    let mut connection = server.connection();
    let mut all = Vec::new();
    for partition in 0..4 {
        let key = format!("rappel:{{{partition}}}:stream");
        let found: Vec<(String, Vec<String>)> =
            redis::cmd("XRANGE").arg(&key).arg("-").arg("+").query(&mut connection).unwrap();
        for (_, fields) in found {
            let pairs = fields.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            all.push((key.clone(), pairs));
        }
    }
    all
}

fn add_all(connection: &mut redis::Connection, entries: &[(String, Vec<(String, String)>)]) {
    for (stream, fields) in entries {
        add(connection, stream, fields.iter().map(|(name, value)| (name, value)));
    }
}

/// The entries of a trace with two tokens, after they were removed from the server.
fn taken_out(server: &Server) -> (redis::Connection, Entries) {
    publish(&server.url(), 2);
    let records = entries(server);
    let mut connection = server.connection();
    redis::cmd("DEL").arg(&records[0].0).query::<i64>(&mut connection).unwrap();
    (connection, records)
}

#[test]
fn a_record_that_cannot_be_read_goes_to_the_dead_letters_and_its_trace_is_incomplete() {
    let Some(server) = Server::start(&[]) else { return };
    let (mut connection, mut records) = taken_out(&server);
    for (_, value) in records[3].1.iter_mut().filter(|(name, _)| name == "record") {
        value.truncate(20);
    }
    add_all(&mut connection, &records);
    let log = Log::default();
    let running = start(worker(&server.url()), with(&log));
    wait_until("the trace", || running.handle.counts().incomplete == 1);
    let counts = running.stop();
    assert_eq!((counts.dead_records, counts.records, counts.whole), (1, 3, 0));
    assert_eq!(counts.late, 2);
    let end = log.root_ends().remove(0);
    assert_eq!(end.error.as_deref(), Some("incomplete"));
    let dead = records[0].0.replace("stream", "dead:default");
    let letters: Vec<(String, Vec<String>)> =
        redis::cmd("XRANGE").arg(dead).arg("-").arg("+").query(&mut connection).unwrap();
    assert!(letters[0].1.iter().any(|text| text.contains("the field `record`")), "{letters:?}");
}

#[test]
fn a_batch_that_comes_twice_is_handled_once() {
    let Some(server) = Server::start(&[]) else { return };
    let (mut connection, records) = taken_out(&server);
    let log = Log::default();
    let running = start(worker(&server.url()), with(&log));
    for part in [&records[..4], &records[1..4], &records[..4], &records[4..], &records[..]] {
        add_all(&mut connection, part);
    }
    wait_until("the trace", || {
        let counts = running.handle.counts();
        (counts.repeated, counts.whole) == (13, 1)
    });
    let counts = running.stop();
    assert_eq!((counts.whole, counts.records, counts.incomplete), (1, 6, 0));
}

#[test]
fn custom_events_after_the_end_of_their_trace_are_all_handed_out() {
    let Some(server) = Server::start(&[]) else { return };
    let (here, there) = (Log::default(), Log::default());
    let callbacks = publisher(&server.url()).with_handler(here.handler());
    let chain = callbacks.on_chain_start(ChainStart::new("answer", json!(1))).wait().unwrap();
    let child = chain.child();
    let custom = |number: i32| {
        child.on_custom_event(CustomEvent::new("late", json!(number))).wait().unwrap();
    };
    custom(0);
    chain.end(json!(2)).wait().unwrap();
    (1..4).for_each(custom);
    let tool = child.on_tool_start(ToolStart::new("clock", "{}")).wait().unwrap();
    custom(4);
    tool.end(json!("noon")).wait().unwrap();
    assert!(callbacks.shutdown(10 * SECOND).wait().unwrap().is_clean());
    let running = start(worker(&server.url()), with(&there));
    wait_until("all records", || running.handle.counts().records == 9);
    let counts = running.stop();
    assert_eq!((counts.repeated, counts.incomplete), (0, 0));
    assert_eq!(there.by_run(), here.by_run());
}

#[test]
fn a_trace_whose_publisher_is_gone_is_closed_and_never_opened_again() {
    let Some(server) = Server::start(&[]) else { return };
    let (mut connection, mut records) = taken_out(&server);
    // Another publisher, which gives no sign.
    let source = records[0].1.iter().find(|(name, _)| name == "source").unwrap().1.clone();
    for (_, value) in records.iter_mut().flat_map(|(_, fields)| fields) {
        *value = value.replace(&source, "gone");
    }
    add_all(&mut connection, &records[..3]);
    let log = Log::default();
    let worker = worker(&server.url()).orphan_after(Duration::from_millis(200));
    let running = start(worker, with(&log));
    wait_until("the orphan", || running.handle.counts().orphans == 1);
    add_all(&mut connection, &records[3..]);
    wait_until("the late ones", || running.handle.counts().late == 3);
    running.stop();
    let ends = log.root_ends();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].error.as_deref(), Some("cancelled"));
}

#[test]
fn a_trace_that_kills_its_workers_goes_to_the_dead_letters() {
    let Some(server) = Server::start(&[]) else { return };
    let callbacks = publisher(&server.url());
    let chain = callbacks.on_chain_start(ChainStart::new("poison", json!(1))).wait().unwrap();
    assert_eq!(callbacks.flush().wait().map_err(|e| e.to_string()), Ok(()));
    let root: RunId = chain.id();
    chain.end(json!(2)).wait().unwrap();
    play(&callbacks, 0);
    callbacks.shutdown(10 * SECOND).wait().unwrap();
    // Two workers have begun it and were killed.
    let mut connection = server.connection();
    let key = format!("rappel:{{{}}}:attempts:default", partition_of(root, 4));
    redis::cmd("HSET")
        .arg(key)
        .arg(root.to_string())
        .arg("2:77:2")
        .query::<i64>(&mut connection)
        .unwrap();
    let log = Log::default();
    let running = start(worker(&server.url()), with(&log));
    wait_until("the traces", || {
        let counts = running.handle.counts();
        counts.dead_traces == 1 && counts.whole == 1
    });
    assert_eq!(running.stop().dead_records, 2);
    assert!(log.all().iter().all(|seen| seen.root != root));
}

#[test]
fn a_publisher_goes_on_when_redis_comes_back_and_refuses_whole_traces_before() {
    let arguments = ["--appendonly", "yes", "--appendfsync", "always"];
    let Some(mut server) = Server::start(&arguments) else { return };
    let publisher = RedisPublisher::new(server.url()).partitions(4).buffer(60, 1 << 20);
    let publisher = publisher.build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    play(&callbacks, 2);
    wait_until("the first trace", || handle.counts().published == 6);
    server.kill();
    wait_until("the error", || {
        if handle.counts().errors == 0 {
            play(&callbacks, 0);
        }
        handle.counts().errors > 0
    });
    let before = handle.counts();
    for _ in 0..30 {
        play(&callbacks, 6);
    }
    let counts = handle.counts();
    assert!(counts.buffered <= 60 && counts.refused_traces > 20, "{counts:?}");
    server.run().unwrap();
    let report = callbacks.shutdown(20 * SECOND).wait().unwrap();
    assert!(report.unfinished.is_empty(), "{report:?}");
    let counts = handle.counts();
    assert_eq!(counts.buffered, 0);
    assert_eq!(counts.accepted, counts.published);
    assert_eq!(
        counts.accepted + counts.refused_records,
        before.accepted + before.refused_records + 300
    );
    let log = Log::default();
    let running = start(worker(&server.url()), with(&log));
    let records = counts.published;
    wait_until("the traces", || running.handle.counts().records == records);
    // A trace may have been cut off in the batch that was on its way.
    let cut = counts.cut_traces;
    wait_until("the end of what was cut", || running.handle.counts().incomplete == cut);
    let counts = running.stop();
    assert_eq!(counts.whole + cut, log.root_ends().len() as u64);
}

#[test]
fn a_publisher_gives_a_sign_soon_after_an_outage() {
    let Some(mut server) = Server::start(&[]) else { return };
    let hour = Duration::from_secs(3600);
    let publisher = RedisPublisher::new(server.url()).partitions(1).heartbeat(hour);
    let publisher = publisher.build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    let key = format!("rappel:publisher:{}", handle.source());
    let is_live = |connection: &mut redis::Connection| {
        redis::cmd("EXISTS").arg(&key).query::<bool>(connection).unwrap()
    };
    let mut connection = server.connection();
    wait_until("the first sign", || is_live(&mut connection));
    server.kill();
    play(&callbacks, 0);
    wait_until("some errors", || handle.counts().errors > 3);
    // It comes back without its data.
    server.run().unwrap();
    let mut connection = server.connection();
    wait_until("the next sign", || is_live(&mut connection));
    callbacks.shutdown(10 * SECOND).wait().unwrap();
}
