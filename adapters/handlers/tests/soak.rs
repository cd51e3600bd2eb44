//! A thousand traces of a hundred events, with all handlers registered: nothing is lost or out of
//! order, and memory is flat.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::System;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use rappel_core::prelude::*;
use rappel_core::record::EventRecord;
use rappel_core::{HandlerStats, RunKind};
use rappel_handlers::{
    Budget, Collector, Console, Filter, FinalAnswer, Gate, JsonLines, PerTrace, Price, Prices,
    Redact, Sample, StreamingStdout, Usage, With,
};
use rappel_tokio::Tokio;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TRACES: usize = 1000;
const EVENTS: usize = 100;
/// Traces that are open at the same time.
const AT_ONCE: usize = 16;

fn bytes_in_use() -> usize {
    let stats = GLOBAL.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Two models side by side and a tool below one of them: 2 + 2 × (2 + 44) + 2 + 4 events.
async fn trace(callbacks: &CallbackManager, number: usize) {
    let mut chain = callbacks.on_chain_start(ChainStart::new("chain", number)).await.unwrap();
    let inside = chain.child();
    let model = async |name: &str| {
        let messages = vec![Message::human("Tell me a joke")];
        let start = ChatModelStart::new(name.to_owned(), messages);
        let mut run = inside.on_chat_model_start(start).await.unwrap();
        run.on_llm_new_token("Final Answer: ").await.unwrap();
        for _ in 0..43 {
            run.on_llm_new_token("sk-abcd ").await.unwrap();
        }
        if number.is_multiple_of(10) {
            run.fail("reset").await.unwrap();
        } else {
            let usage = TokenUsage::new(10, 44);
            run.end(LlmResult::from_text("Why not?").with_usage(usage)).await.unwrap();
        }
    };
    join_all([model("a"), model("b")]).await;
    for _ in 0..4 {
        chain.on_text("and so on").await.unwrap();
    }
    let tool = inside.on_tool_start(ToolStart::new("tool", "")).await.unwrap();
    tool.end("done").await.unwrap();
    chain.end("done").await.unwrap();
}

async fn traces(callbacks: &CallbackManager, numbers: std::ops::Range<usize>) {
    let all = stream::iter(numbers).map(|number| trace(callbacks, number));
    all.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    callbacks.flush().await.unwrap();
}

struct Counted {
    open: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl CallbackHandler for Counted {
    fn on_event(&mut self, _: &Event, _: &EventContext) -> HandlerResult {
        Ok(())
    }
}

#[test]
fn a_thousand_traces_with_all_handlers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let test = async {
        let done = tokio::time::timeout(Duration::from_secs(900), soak());
        done.await.expect("the soak hangs");
    };
    runtime.block_on(test);
}

async fn soak() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let prices = Prices::new().with("a", Price::per_million(1.0, 1.0));
    let usage = Usage::with_prices(prices);
    let collector = Collector::new(50);
    let (open, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (made, asked) = (open.clone(), calls.clone());
    let gate = Gate::new(async move |_event, _cx| {
        asked.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let per_trace = PerTrace::new(move |_: &RunInfo| {
        made.fetch_add(1, Ordering::SeqCst);
        Counted { open: made.clone() }
    });
    let redacted = Redact::new(JsonLines::to(io::sink()));
    let redacted = redacted.keys(["key"]).pattern("sk-[a-z]{4,8}").unwrap();
    let budget = Budget::new().tokens(u64::MAX);
    let callbacks = CallbackManager::new(Tokio::current())
        .with(StreamingStdout::to(io::sink()))
        .with(FinalAnswer::new(StreamingStdout::to(io::sink())))
        .with(Console::to(io::sink()))
        .with(Console::to(io::sink()).grouped().contents(40))
        .with(JsonLines::append(&path).unwrap())
        .with(usage.clone())
        .with(collector.clone())
        .with(gate)
        .with(budget.clone())
        .with(Filter::new(StreamingStdout::to(io::sink())).names(["a"]))
        .with(Sample::new(Console::to(io::sink()), 0.1).with_errors(1000 * EVENTS))
        .with(per_trace)
        .with(redacted);
    #[cfg(feature = "progress")]
    let callbacks = callbacks.with(rappel_handlers::Progress::new());

    // Everything that is bounded is full then.
    traces(&callbacks, 0..TRACES / 4).await;
    let before = bytes_in_use();
    traces(&callbacks, TRACES / 4..TRACES).await;
    let after = bytes_in_use();

    let stats = callbacks.stats();
    let clean = |it: &HandlerStats| {
        [it.failed, it.dropped, it.refused_runs, it.pending, it.open_runs] == [0; 5]
    };
    assert!(stats.iter().all(clean), "{stats:#?}");
    assert_eq!(open.load(Ordering::SeqCst), 0);
    assert_eq!(calls.load(Ordering::SeqCst), 3 * TRACES);
    let answers = 2 * TRACES / 10 * 9;
    assert_eq!(usage.report().total().requests, answers as u64);
    assert_eq!(usage.report().models["b"].unpriced, answers as u64 / 2);
    assert_eq!(budget.spent().tokens, 54 * answers as u64);
    assert_eq!((collector.traces().len(), collector.dropped()), (50, TRACES - 50));
    check(&path);
    let grown = after.saturating_sub(before);
    let grown_by_scopes = scopes(&callbacks).await;
    assert!(grown_by_scopes < 16 * 1024, "{grown_by_scopes} bytes more after 200 scopes");
    assert!(grown < 256 * 1024, "{grown} bytes more after {} more traces", TRACES * 3 / 4);
}

/// Counts the usage of many parts of a program. Returns how many bytes stay.
async fn scopes(callbacks: &CallbackManager) -> usize {
    let mut before = 0;
    for number in 0..220 {
        if number == 20 {
            before = bytes_in_use();
        }
        let future = async {
            let callbacks = CallbackManager::current().unwrap();
            let run = callbacks.on_llm_start(LlmStart::new("a", "")).await.unwrap();
            run.end(LlmResult::new().with_usage(TokenUsage::new(1, 1))).await.unwrap();
        };
        let ((), usage) = Usage::scope(future).in_scope(callbacks).await;
        assert_eq!(usage.total().requests, 1);
    }
    callbacks.flush().await.unwrap();
    bytes_in_use().saturating_sub(before)
}

/// A run that is open while the file is read.
struct Open {
    parent: Option<RunId>,
    next: u64,
    children: usize,
}

/// Reads the file, and checks that it has every event, in tree order.
fn check(path: &Path) {
    let mut runs: HashMap<RunId, Open> = HashMap::new();
    let mut numbers: HashMap<RunId, u64> = HashMap::new();
    let mut count = 0;
    for record in JsonLines::read(path).unwrap() {
        let record: EventRecord = record.unwrap();
        count += 1;
        let number = numbers.entry(record.root).or_default();
        assert_eq!(record.tseq, *number, "{record:?}");
        *number += 1;
        let kind = record.event.as_ref().unwrap().kind();
        if kind.is_start() {
            if let Some(parent) = record.parent {
                let parent = runs.get_mut(&parent).expect("the parent is open");
                parent.children += 1;
            }
            let run = Open { parent: record.parent, next: 0, children: 0 };
            assert!(runs.insert(record.run, run).is_none());
        }
        let run = runs.get_mut(&record.run).expect("the run is open");
        assert_eq!(record.seq, Some(run.next), "{record:?}");
        run.next += 1;
        if kind.is_end() {
            assert_eq!(run.children, 0, "{record:?}");
            if record.run_kind == RunKind::Chain {
                assert_eq!(numbers[&record.root], EVENTS as u64);
            }
            let parent = run.parent;
            runs.remove(&record.run);
            if let Some(parent) = parent.and_then(|parent| runs.get_mut(&parent)) {
                parent.children -= 1;
            }
        }
    }
    assert!(runs.is_empty());
    assert_eq!(count, TRACES * EVENTS);
}
