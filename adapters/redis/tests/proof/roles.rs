//! What the processes do.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rappel_redis::{Connect, PublisherHandle, RedisPublisher, RedisWorker};
use rappel_threads::prelude::*;
use rappel_threads::{Delivery, Interest, json};

/// Maximum number of records in a publisher's buffer.
pub(crate) const BUFFER: usize = 4000;
/// Events of a trace.
pub(crate) const EVENTS: usize = 30;
pub(crate) const PARTITIONS: u32 = 8;
pub(crate) const LEASE: Duration = Duration::from_secs(2);

fn connect(port: &str) -> Connect {
    Connect::to(&format!("redis://127.0.0.1:{port}/")).timeout(Duration::from_secs(1))
}

/// Publishes, and then writes down what it has published.
struct Ledger {
    publisher: RedisPublisher,
    handle: PublisherHandle,
    file: File,
}

impl CallbackHandler for Ledger {
    fn interest(&self) -> Interest {
        self.publisher.interest()
    }

    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.publisher.on_event(event, cx)?;
        let refused = self.handle.counts().refused_records;
        let ends = event.kind().is_end() && cx.parent_id().is_none();
        writeln!(self.file, "{} {} {refused}", cx.root_id(), if ends { "end" } else { "-" })?;
        Ok(())
    }
}

/// `publish PORT FILE TRACES`
pub(crate) fn publish(arguments: &[String]) {
    let [port, file, traces] = arguments else { panic!("publish PORT FILE TRACES") };
    let traces: usize = traces.parse().expect("a number");
    let publisher = loop {
        let publisher = RedisPublisher::new(connect(port)).partitions(PARTITIONS);
        let publisher = publisher.buffer(BUFFER, 64 << 20).heartbeat(Duration::from_secs(3));
        match publisher.build() {
            Ok(publisher) => break publisher,
            Err(error) if error.is_transient() => thread::sleep(Duration::from_millis(100)),
            Err(error) => panic!("{error}"),
        }
    };
    let handle = publisher.handle();
    let ledger =
        Ledger { handle: handle.clone(), publisher, file: File::create(file).expect("a file") };
    let callbacks =
        CallbackManager::new(Threads::new()).with_handler_options(ledger, Delivery::pipelined(64));
    const THREADS: usize = 4;
    thread::scope(|scope| {
        for number in 0..THREADS {
            let callbacks = &callbacks;
            scope.spawn(move || {
                for _ in (number..traces).step_by(THREADS) {
                    trace(callbacks);
                }
            });
        }
    });
    callbacks.flush().wait().expect("a flush");
    let left = handle.flush(Duration::from_secs(60));
    let counts = handle.counts();
    let done = Path::new(file).with_extension("done");
    let line = format!(
        "left {left} refused {} refused_traces {} cut {}",
        counts.refused_records, counts.refused_traces, counts.cut_traces
    );
    std::fs::write(done, line).expect("a file");
}

fn trace(callbacks: &CallbackManager) {
    let pause = || thread::sleep(Duration::from_millis(fastrand::u64(1..25)));
    let start = ChainStart::new("answer", json!({"question": "why"}));
    let chain = callbacks.on_chain_start(start).wait().expect("a start");
    let start = LlmStart::new("model", "hi");
    let mut model = chain.child().on_llm_start(start).wait().expect("a start");
    for number in 0..EVENTS - 4 {
        model.on_llm_new_token(format!("token {number}")).wait().expect("a token");
        if number % 10 == 0 {
            pause();
        }
    }
    model.end(LlmResult::from_text("because")).wait().expect("an end");
    pause();
    chain.end(json!("because")).wait().expect("an end");
}

/// `work PORT FILE`, until its standard input is closed.
pub(crate) fn work(arguments: &[String]) {
    let [port, file] = arguments else { panic!("work PORT FILE") };
    let mut lines = File::create(file).expect("a file");
    let writes = handler_fn(move |event: &Event, cx: &EventContext| {
        let tseq = cx.recorded().map_or(-1, |recorded| recorded.tseq as i64);
        let delivery = cx.remote_delivery().ok_or("no delivery")?;
        let ends = event.kind().is_end() && cx.parent_id().is_none();
        let line = format!(
            "{} {tseq} {} {} {} {}\n",
            cx.root_id(),
            delivery.epoch,
            delivery.attempt,
            event.kind(),
            if ends { "end" } else { "-" },
        );
        lines.write_all(line.as_bytes())?;
        Ok(())
    });
    let callbacks = CallbackManager::new(Threads::new()).with_handler(writes);
    let worker = RedisWorker::new(connect(port))
        .group("proof")
        .lease(LEASE)
        .orphan_after(Duration::from_secs(6))
        // Workers are killed at random here, and no trace is poison.
        .max_attempts(50);
    let stop = worker.handle();
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.stop();
        thread::sleep(Duration::from_secs(60));
        std::process::exit(9);
    });
    let counts = worker.run(callbacks).unwrap_or_else(|error| {
        // The server is away: another process tries again.
        eprintln!("{error}");
        std::process::exit(if error.is_transient() { 3 } else { 4 })
    });
    std::fs::write(Path::new(file).with_extension("done"), format!("{counts:?}")).expect("a file");
}
