//! A server whose memory is full (`maxmemory`), and evicts nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rappel_redis::{Error, PublisherBuilder, PublisherHandle, RedisAdmin, RedisPublisher};
use rappel_threads::json;
use rappel_threads::prelude::*;

use crate::scene::{Log, add, play, start, with, worker};
use crate::support::{Server, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const STREAM: &str = "rappel:{0}:stream";

fn server(maxmemory: &str) -> Option<Server> {
    Server::start(&["--maxmemory-policy", "noeviction", "--maxmemory", maxmemory])
}

/// With 1, the memory is full. With 0, it never is.
fn memory(connection: &mut redis::Connection, bytes: u64) {
    let mut set = redis::cmd("CONFIG");
    set.arg("SET").arg("maxmemory").arg(bytes).query::<()>(connection).unwrap();
}

fn large(callbacks: &CallbackManager) {
    let start = ChainStart::new("large", json!("x".repeat(10_000)));
    callbacks.on_chain_start(start).wait().unwrap().end(json!(1)).wait().unwrap();
}

fn entries(connection: &mut redis::Connection) -> Vec<(String, HashMap<String, String>)> {
    redis::cmd("XRANGE").arg(STREAM).arg("-").arg("+").query(connection).unwrap()
}

/// A publisher of one partition, with its manager.
fn register(publisher: PublisherBuilder) -> (PublisherHandle, CallbackManager) {
    let publisher = publisher.partitions(1).build().unwrap();
    (publisher.handle(), publisher.register(CallbackManager::new(Threads::new())))
}

#[test]
fn nothing_of_a_batch_is_accepted_and_the_publisher_tries_again() {
    let Some(server) = server("0") else { return };
    let (handle, callbacks) = register(RedisPublisher::new(server.url()));
    let mut connection = server.connection();
    memory(&mut connection, 1);
    play(&callbacks, 2);
    wait_until("the error", || handle.last_error().is_some());
    let error = handle.last_error().unwrap();
    assert!(matches!(error, Error::OutOfMemory), "{error:?}");
    let length: u64 = redis::cmd("XLEN").arg(STREAM).query(&mut connection).unwrap();
    assert_eq!((length, handle.counts().published), (0, 0));
    memory(&mut connection, 0);
    wait_until("the trace", || handle.counts().published == 6);
    callbacks.shutdown(5 * SECOND).wait().unwrap();
}

#[test]
fn heartbeats_that_are_accepted_neither_shorten_the_pauses_nor_hold_batches_up() {
    let Some(server) = server("0") else { return };
    let publisher = RedisPublisher::new(server.url()).heartbeat(Duration::from_millis(40));
    let (handle, callbacks) = register(publisher);
    let mut connection = server.connection();
    memory(&mut connection, 1);
    play(&callbacks, 2);
    let (mut errors, mut since) = (0, Instant::now());
    wait_until("a long pause after several errors", || {
        let now = handle.counts().errors;
        if now != errors {
            (errors, since) = (now, Instant::now());
        }
        errors > 3 && since.elapsed() > Duration::from_millis(200)
    });
    wait_until("the next try", || handle.counts().errors > errors);
    memory(&mut connection, 0);
    wait_until("the trace", || handle.counts().published == 6);
    callbacks.shutdown(5 * SECOND).wait().unwrap();
}

#[test]
fn workers_handle_and_trim_a_backlog_that_fills_the_memory() {
    let Some(server) = server("6mb") else { return };
    let (here, there) = (Log::default(), Log::default());
    let publisher = RedisPublisher::new(server.url()).partitions(2).build().unwrap();
    let handle = publisher.handle();
    let callbacks =
        publisher.register(CallbackManager::new(Threads::new())).with_handler(here.handler());
    let open = callbacks.on_chain_start(ChainStart::new("open", json!(1))).wait().unwrap();
    wait_until("a full memory", || {
        large(&callbacks);
        handle.last_error().is_some_and(|error| matches!(error, Error::OutOfMemory))
    });
    for _ in 0..100 {
        large(&callbacks);
    }
    assert!(handle.counts().buffered > 0, "{:?}", handle.counts());
    // Publishers and workers can start.
    RedisPublisher::new(server.url()).partitions(2).build().unwrap();
    let worker = worker(&server.url()).partitions(2).lease(10 * SECOND);
    let running = start(worker, with(&there));
    wait_until("room for all records", || handle.counts().buffered == 0);
    open.end(json!(2)).wait().unwrap();
    assert!(callbacks.shutdown(20 * SECOND).wait().unwrap().is_clean());
    let counts = handle.counts();
    assert_eq!((counts.published, counts.refused_records), (counts.accepted, 0));
    let emitted = here.root_ends().len() as u64;
    wait_until("the traces", || running.handle.counts().whole == emitted);
    running.stop();
    assert_eq!(there.by_run(), here.by_run());
    let lag = RedisAdmin::new(server.url(), "rappel").unwrap().lag("default").unwrap();
    assert!(lag.iter().all(|lag| lag.behind == 0 && lag.entries < 100), "{lag:?}");
}

#[test]
fn a_group_that_is_forgotten_leaves_room_for_records() {
    let Some(server) = server("6mb") else { return };
    let log = Log::default();
    for group in ["gone", "default"] {
        let worker = worker(&server.url()).group(group).partitions(1);
        let running = start(worker, with(&log));
        wait_until("the partition", || running.handle.counts().taken == 1);
        running.stop();
    }
    let publisher = RedisPublisher::new(server.url()).build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    wait_until("a full memory", || {
        large(&callbacks);
        handle.last_error().is_some_and(|error| matches!(error, Error::OutOfMemory))
    });
    for _ in 0..50 {
        large(&callbacks);
    }
    let mut admin = RedisAdmin::new(server.url(), "rappel").unwrap();
    let running = start(worker(&server.url()).lease(10 * SECOND), with(&log));
    wait_until("the position", || admin.lag("default").unwrap()[0].behind == 0);
    let counts = handle.counts();
    assert!(counts.buffered > 0, "the group without workers keeps all records: {counts:?}");
    admin.forget_group("gone").unwrap();
    wait_until("room for all records", || handle.counts().buffered == 0);
    assert!(callbacks.shutdown(20 * SECOND).wait().unwrap().is_clean());
    running.stop();
}

#[test]
fn only_the_traces_of_dead_publishers_are_closed_while_the_memory_stays_full() {
    let Some(server) = server("0") else { return };
    let mut connection = server.connection();
    let publisher = RedisPublisher::new(server.url()).heartbeat(4 * SECOND);
    let publisher = publisher.partitions(1).build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    let open = callbacks.on_chain_start(ChainStart::new("open", json!(1))).wait().unwrap();
    wait_until("the start", || handle.counts().published == 1);
    // The same from a publisher that gives no sign, later.
    let (root, other) = (open.id().to_string(), "018f4e2a-0000-7000-8000-0000000000ff");
    let (_, mut fields) = entries(&mut connection).remove(0);
    for value in fields.values_mut() {
        *value = value.replace(&root, other).replace(&**handle.source(), "gone");
    }
    add(&mut connection, STREAM, &fields);
    memory(&mut connection, 1);
    let key = format!("rappel:publisher:{}", handle.source());
    redis::cmd("DEL").arg(&key).query::<()>(&mut connection).unwrap();
    wait_until("the next sign", || {
        redis::cmd("EXISTS").arg(&key).query::<bool>(&mut connection).unwrap()
    });
    let log = Log::default();
    let worker = worker(&server.url()).orphan_after(SECOND).lease(10 * SECOND);
    let running = start(worker, with(&log));
    wait_until("the orphan", || running.handle.counts().orphans == 1);
    let ends: Vec<_> = log.root_ends().iter().map(|end| end.root.to_string()).collect();
    assert_eq!(ends, [other]);
    memory(&mut connection, 0);
    open.end(json!(2)).wait().unwrap();
    wait_until("the trace", || running.handle.counts().whole == 1);
    assert_eq!(running.stop().orphans, 1);
    callbacks.shutdown(5 * SECOND).wait().unwrap();
}

#[test]
fn dead_letters_are_written_and_stopped_workers_release_their_partitions() {
    let Some(server) = server("0") else { return };
    let mut connection = server.connection();
    let publisher = RedisPublisher::new(server.url()).partitions(1).build().unwrap();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    play(&callbacks, 0);
    callbacks.shutdown(5 * SECOND).wait().unwrap();
    // The last record cannot be read.
    let mut all = entries(&mut connection);
    redis::cmd("DEL").arg(STREAM).query::<()>(&mut connection).unwrap();
    all.last_mut().unwrap().1.insert("record".to_owned(), "{".to_owned());
    for (_, fields) in all {
        add(&mut connection, STREAM, &fields);
    }
    memory(&mut connection, 1);
    let running = start(worker(&server.url()).lease(10 * SECOND), with(&Log::default()));
    wait_until("the trace", || running.handle.counts().incomplete == 1);
    assert_eq!(running.stop().dead_records, 1);
    let lag = RedisAdmin::new(server.url(), "rappel").unwrap().lag("default").unwrap().remove(0);
    assert_eq!((lag.behind, lag.dead_letters, lag.owner), (0, 1, None));
}
