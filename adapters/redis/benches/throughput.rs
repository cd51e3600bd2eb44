//! What a publisher and a worker take, beside a bare loop of XADD and XREAD with the same records:
//!
//!     cargo bench --bench throughput
//!
//! Server, publisher and worker share this machine's processors.

#![allow(clippy::unwrap_used, reason = "a bench")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rappel_redis::{RedisPublisher, RedisWorker, WorkerHandle};
use rappel_threads::prelude::*;
use rappel_threads::{Delivery, json};

use crate::support::{Server, wait_until};

const TRACES: usize = 4000;
const EVENTS: usize = 30;
const BATCH: usize = 256;

fn publisher(server: &Server, namespace: &str, partitions: u32) -> CallbackManager {
    let publisher = RedisPublisher::new(server.url()).namespace(namespace).partitions(partitions);
    let publisher = publisher.batch(BATCH, Duration::from_millis(2));
    // Emitters wait for Redis here, and nothing is refused.
    let publisher = publisher.wait_for_room(Duration::from_secs(60)).build().unwrap();
    publisher.register(CallbackManager::new(Threads::new()))
}

fn start(
    server: &Server,
    namespace: &str,
    callbacks: CallbackManager,
) -> (WorkerHandle, thread::JoinHandle<()>) {
    let worker = RedisWorker::new(server.url()).namespace(namespace);
    let handle = worker.handle();
    (handle, thread::spawn(move || assert!(worker.run(callbacks).is_ok())))
}

fn trace(callbacks: &CallbackManager) {
    let chain =
        callbacks.on_chain_start(ChainStart::new("answer", json!({"q": 1}))).wait().unwrap();
    let mut model = chain.child().on_llm_start(LlmStart::new("model", "hi")).wait().unwrap();
    for _ in 0..EVENTS - 4 {
        model.on_llm_new_token(" token").wait().unwrap();
    }
    model.end(LlmResult::from_text("because")).wait().unwrap();
    chain.end(json!("because")).wait().unwrap();
}

/// Emits, publishes and handles all traces. Returns the events in a second.
fn end_to_end(server: &Server, namespace: &str, partitions: u32) -> f64 {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = seen.clone();
    let handler = async_handler_fn(async move |_: &Event, _: &EventContext| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let callbacks = publisher(server, namespace, partitions);
    let manager = CallbackManager::new(Threads::new()).with_async_handler(handler);
    let (handle, thread) = start(server, namespace, manager);
    wait_until("the partitions", || handle.counts().taken == u64::from(partitions));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..TRACES / 4).for_each(|_| trace(&callbacks)));
        }
    });
    let emitted = began.elapsed();
    wait_until("the traces", || handle.counts().whole == TRACES as u64);
    let took = began.elapsed();
    assert_eq!(seen.load(Ordering::Relaxed), (TRACES * EVENTS) as u64);
    handle.stop();
    thread.join().unwrap();
    callbacks.shutdown(Duration::from_secs(5)).wait().unwrap();
    let rate = (TRACES * EVENTS) as f64 / took.as_secs_f64();
    println!(
        "{partitions} partitions: {rate:.0} events/s (emitted after {:.2} s, handled after {:.2} s)",
        emitted.as_secs_f64(),
        took.as_secs_f64()
    );
    rate
}

/// The records of the traces, published and not trimmed.
fn records(server: &Server) -> Vec<Vec<(String, String)>> {
    let callbacks = publisher(server, "records", 1);
    (0..TRACES / 4).for_each(|_| trace(&callbacks));
    callbacks.shutdown(Duration::from_secs(60)).wait().unwrap();
    let mut connection = server.connection();
    let key = "records:{0}:stream";
    let found: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(key).arg("-").arg("+").query(&mut connection).unwrap();
    let memory: u64 = redis::cmd("MEMORY")
        .arg("USAGE")
        .arg(key)
        .arg("SAMPLES")
        .arg(0)
        .query(&mut connection)
        .unwrap();
    println!("{} bytes of memory for each record in the stream", memory / found.len() as u64);
    found.into_iter().map(|(_, fields)| fields).collect()
}

/// One thread adds the same records in transactions, another one reads them.
fn bare(server: &Server, records: &[Vec<(String, String)>]) -> f64 {
    let key = "bare";
    let total = TRACES * EVENTS;
    let mut writer = server.connection();
    let mut reader = server.connection();
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let all: Vec<_> = records.iter().cycle().take(total).collect();
            for batch in all.chunks(BATCH) {
                let mut pipe = redis::pipe();
                pipe.atomic();
                for fields in batch {
                    let add = pipe.cmd("XADD").arg(key).arg("*");
                    for (name, value) in *fields {
                        add.arg(name).arg(value);
                    }
                    add.ignore();
                }
                pipe.query::<()>(&mut writer).unwrap();
            }
        });
        let (mut after, mut count) = ("0-0".to_owned(), 0);
        while count < total {
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(512).arg("BLOCK").arg(100).arg("STREAMS").arg(key).arg(&after);
            // Nothing is decoded but the last id.
            let redis::Value::Array(mut streams) = read.query(&mut reader).unwrap() else {
                continue;
            };
            let Some(redis::Value::Array(mut stream)) = streams.pop() else { continue };
            let Some(redis::Value::Array(mut entries)) = stream.pop() else { continue };
            count += entries.len();
            let Some(redis::Value::Array(last)) = entries.pop() else { continue };
            let redis::Value::BulkString(id) = &last[0] else { continue };
            after = String::from_utf8(id.clone()).unwrap();
        }
    });
    let rate = total as f64 / began.elapsed().as_secs_f64();
    println!("bare XADD and XREAD: {rate:.0} records/s");
    rate
}

/// What an emitter pays for a token, with a publisher and with a handler that does nothing.
fn emitters_cost(server: &Server) {
    let nothing = handler_fn(|_: &Event, _: &EventContext| Ok(()));
    let empty = CallbackManager::new(Threads::new())
        .with_handler_options(nothing, Delivery::pipelined(1024));
    for (name, callbacks) in [("no-op", empty), ("publisher", publisher(server, "cost", 1))] {
        let mut run = callbacks.on_llm_start(LlmStart::new("model", "hi")).wait().unwrap();
        let mut times = Vec::new();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(30));
            let began = Instant::now();
            for _ in 0..500 {
                run.on_llm_new_token(" token").wait().unwrap();
            }
            times.push(began.elapsed() / 500);
        }
        times.sort();
        println!("a token costs its emitter {:?} with a {name} handler", times[times.len() / 2]);
        drop(run);
        callbacks.shutdown(Duration::from_secs(5)).wait().unwrap();
    }
}

/// From an emit to the handler, at 200 traces a second.
fn delay(server: &Server) {
    let began = Instant::now();
    let delays = Arc::new(Mutex::new(Vec::new()));
    let noted = delays.clone();
    let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
        if let Event::ChainStart(start) = event {
            let sent = Duration::from_micros(start.inputs.as_u64().unwrap_or_default());
            noted.lock().unwrap().push(began.elapsed().saturating_sub(sent));
        }
        Ok(())
    });
    let callbacks = publisher(server, "delay", 4);
    let manager = CallbackManager::new(Threads::new()).with_async_handler(handler);
    let (handle, thread) = start(server, "delay", manager);
    wait_until("the partitions", || handle.counts().taken == 4);
    for _ in 0..1000 {
        let now = json!(began.elapsed().as_micros() as u64);
        let chain = callbacks.on_chain_start(ChainStart::new("answer", now)).wait().unwrap();
        chain.end(json!(1)).wait().unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    wait_until("the traces", || handle.counts().whole == 1000);
    handle.stop();
    thread.join().unwrap();
    let mut delays = delays.lock().unwrap();
    delays.sort();
    println!("from an emit to the handler: p50 {:?}, p99 {:?}", delays[500], delays[990]);
}

/// How long a worker takes to the first new trace, beside one trace that is open for long.
fn takeover(server: &Server) {
    let callbacks = publisher(server, "takeover", 1);
    let open = callbacks.on_chain_start(ChainStart::new("long", json!(1))).wait().unwrap();
    let manager = || {
        let handler = async_handler_fn(async |_: &Event, _: &EventContext| Ok(()));
        CallbackManager::new(Threads::new()).with_async_handler(handler)
    };
    let (handle, thread) = start(server, "takeover", manager());
    (0..TRACES).for_each(|_| trace(&callbacks));
    wait_until("the traces", || handle.counts().whole == TRACES as u64);
    handle.stop();
    thread.join().unwrap();
    trace(&callbacks);
    let began = Instant::now();
    let (handle, thread) = start(server, "takeover", manager());
    wait_until("the new trace", || handle.counts().whole == 1);
    println!(
        "a worker that takes over beside a trace with {} later records goes on after {:?}",
        TRACES * EVENTS,
        began.elapsed()
    );
    open.end(json!(1)).wait().unwrap();
    wait_until("the long trace", || handle.counts().whole == 2);
    handle.stop();
    thread.join().unwrap();
    callbacks.shutdown(Duration::from_secs(5)).wait().unwrap();
}

fn main() {
    let Some(server) = Server::start(&[]) else { return };
    let records = records(&server);
    let length: usize = records.iter().flatten().map(|(_, value)| value.len()).sum();
    println!("{} bytes of fields for each record", length / records.len());
    for round in 1..=3 {
        let bare = bare(&server, &records);
        redis::cmd("DEL").arg("bare").query::<i64>(&mut server.connection()).unwrap();
        let one = end_to_end(&server, &format!("one{round}"), 1);
        let four = end_to_end(&server, &format!("four{round}"), 4);
        println!(
            "ratio to the bare loop: {:.2} with 1 partition, {:.2} with 4",
            one / bare,
            four / bare
        );
    }
    emitters_cost(&server);
    delay(&server);
    takeover(&server);
}
