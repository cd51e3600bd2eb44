//! Programs that emit, and handlers that keep what they get.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rappel_redis::{RedisPublisher, RedisWorker, WorkerCounts, WorkerHandle};
use rappel_threads::prelude::*;
use rappel_threads::{RemoteDelivery, RunId, json};

/// One event, as a handler got it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) run: RunId,
    pub(crate) root: RunId,
    pub(crate) seq: Option<u64>,
    pub(crate) kind: String,
    pub(crate) error: Option<String>,
    pub(crate) made_up: bool,
    pub(crate) delivery: Option<RemoteDelivery>,
}

#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Vec<Seen>>>);

impl Log {
    pub(crate) fn handler(&self) -> impl CallbackHandler + use<> {
        let log = self.0.clone();
        handler_fn(move |event: &Event, cx: &EventContext| {
            let error = match event {
                Event::ChainError(error) => Some(error.error.error_type().to_owned()),
                Event::LlmError(error) => Some(error.error.error_type().to_owned()),
                _ => None,
            };
            log.lock().unwrap().push(Seen {
                run: cx.id(),
                root: cx.root_id(),
                seq: cx.sequence(),
                kind: event.kind().to_string(),
                error,
                made_up: cx.is_made_up(),
                delivery: cx.remote_delivery(),
            });
            Ok(())
        })
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap().clone()
    }

    /// The ends of root runs, and their errors.
    pub(crate) fn root_ends(&self) -> Vec<Seen> {
        let is_end = |seen: &Seen| {
            seen.run == seen.root && (seen.kind.ends_with("_end") || seen.error.is_some())
        };
        self.all().into_iter().filter(is_end).collect()
    }

    /// What was seen of each run, in order.
    pub(crate) fn by_run(&self) -> HashMap<RunId, Vec<String>> {
        let mut runs: HashMap<RunId, Vec<String>> = HashMap::new();
        for seen in self.all() {
            runs.entry(seen.run).or_default().push(format!("{:?} {}", seen.seq, seen.kind));
        }
        runs
    }
}

/// A worker in a thread.
pub(crate) struct Running {
    pub(crate) handle: WorkerHandle,
    thread: JoinHandle<WorkerCounts>,
}

pub(crate) fn start(worker: RedisWorker, callbacks: CallbackManager) -> Running {
    let handle = worker.handle();
    Running { handle, thread: thread::spawn(move || worker.run(callbacks).unwrap()) }
}

impl Running {
    pub(crate) fn stop(self) -> WorkerCounts {
        self.handle.stop();
        self.thread.join().unwrap()
    }
}

pub(crate) fn with(log: &Log) -> CallbackManager {
    CallbackManager::new(Threads::new()).with_handler(log.handler())
}

pub(crate) fn worker(url: &str) -> RedisWorker {
    RedisWorker::new(url).lease(Duration::from_millis(600))
}

/// A program that publishes.
pub(crate) fn publisher(url: &str) -> CallbackManager {
    let publisher = RedisPublisher::new(url).partitions(4).build().unwrap();
    publisher.register(CallbackManager::new(Threads::new()))
}

/// Publishes one trace, and ends when the server has it.
pub(crate) fn publish(url: &str, tokens: usize) {
    let callbacks = publisher(url);
    play(&callbacks, tokens);
    callbacks.shutdown(Duration::from_secs(10)).wait().unwrap();
}

/// Adds an entry to a stream.
pub(crate) fn add<'a>(
    connection: &mut redis::Connection,
    stream: &str,
    fields: impl IntoIterator<Item = (&'a String, &'a String)>,
) {
    let mut add = redis::cmd("XADD");
    add.arg(stream).arg("*");
    for (name, value) in fields {
        add.arg(name).arg(value);
    }
    add.query::<String>(connection).unwrap();
}

/// A chain with a model's run.
pub(crate) fn play(callbacks: &CallbackManager, tokens: usize) {
    let chain =
        callbacks.on_chain_start(ChainStart::new("answer", json!({"q": 1}))).wait().unwrap();
    let mut model = chain.child().on_llm_start(LlmStart::new("model", "hi")).wait().unwrap();
    for number in 0..tokens {
        model.on_llm_new_token(format!("t{number}")).wait().unwrap();
    }
    model.end(LlmResult::from_text("done")).wait().unwrap();
    chain.end(json!("done")).wait().unwrap();
}
