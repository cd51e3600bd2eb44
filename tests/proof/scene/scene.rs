//! The scene that every target plays: a run that is told to its end, and one that is given up inside a chain, before handlers of every sort.
//!
//! It is included by the programs for bare targets, and by a test that runs it on every runtime: all write what stands in `scene.log`. Which
//! handler is called first is a runtime's affair, so the log is compared handler by handler.

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Poll};
use core::time::Duration;

use rappel_core::prelude::*;
use rappel_core::{BlockingExecutor, Clock, Entropy, HandlerFuture, Spawner, json};

/// Where the handlers' lines go: who writes, and what.
pub(crate) type Log = Arc<dyn Fn(&'static str, String) + Send + Sync>;

/// Plays the scene on a runtime. When it is through, all has been handled.
pub(crate) async fn play(runtime: impl Spawner + BlockingExecutor, log: Log) -> Result<(), RunError> {
    let failures = log.clone();
    let options = HandlerOptions::new;
    let callbacks = CallbackManager::with_sources(runtime, Stopped, Counted::default())
        .on_handler_failure(move |failure| failures("report", format!("{failure}")))
        .with_handler(Watcher::new("sync", &log))
        .with_handler_options(Watcher::new("sync-inline", &log), options().run_inline(true))
        .with_handler_options(Watcher::new("sync-pipelined", &log), options().delivery(Pipelined { capacity: 1 }))
        .with_async_handler(Watcher::new("async", &log))
        .with_async_handler_options(Watcher::new("async-on-runtime", &log), options().on_runtime())
        .with_async_handler_options(Broken, options().name("broken"))
        .with_inheritable_tags(["scene"]);
    told(&callbacks).await?;
    given_up(&callbacks).await?;
    callbacks.flush().await;
    for stats in callbacks.stats().iter().filter(|stats| stats.failed > 0) {
        log(
            "stats",
            format!("{}: {} handled, {} failed", stats.name, stats.handled, stats.failed),
        );
    }
    Ok(())
}

/// A run with three tokens and an end.
async fn told(callbacks: &CallbackManager<impl Spawner + BlockingExecutor>) -> Result<(), RunError> {
    let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
    for token in ["Why", " not", "?"] {
        run.on_llm_new_token(token).await?;
    }
    run.end(LlmResult::from_text("Why not?")).await?;
    Ok(())
}

/// A chain whose model is given up after a token.
async fn given_up(callbacks: &CallbackManager<impl Spawner + BlockingExecutor>) -> Result<(), RunError> {
    let chain = callbacks
        .on_chain_start(ChainStart::new("my-chain", json!({ "question": 42 })))
        .await?;
    let run = chain.child(None).on_llm_start(LlmStart::new("my-model", "Tell me another")).await?;
    run.on_llm_new_token("Because").await?;
    drop(run);
    callbacks.flush().await;
    chain.end(json!(null)).await?;
    Ok(())
}

/// A handler, sync or async, that writes down what it sees.
struct Watcher {
    name: &'static str,
    log: Log,
}

impl Watcher {
    fn new(name: &'static str, log: &Log) -> Self {
        Self { name, log: log.clone() }
    }

    fn write(&self, event: &Event, run: &RunInfo) {
        let time = event.time().map(|time| format!(" at {}", time.as_millis())).unwrap_or_default();
        let parent = run.parent_id().map(|id| format!(" in {id}")).unwrap_or_default();
        let (id, name, number, tags, what) = (run.id(), run.name(), event.sequence(), run.tags(), line(event));
        (self.log)(self.name, format!("{id}{parent} {name} {tags:?} #{number}{time}: {what}"));
    }
}

impl CallbackHandler for Watcher {
    fn on_event(&mut self, event: &Event, run: &RunInfo) -> HandlerResult {
        self.write(event, run);
        Ok(())
    }
}

impl AsyncCallbackHandler for Watcher {
    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            Yield(false).await;
            self.write(event, run);
            Ok(())
        })
    }
}

/// A handler that fails at every token, since it wants numbers.
struct Broken;

impl AsyncCallbackHandler for Broken {
    async fn on_llm_new_token(&self, token: &LlmNewToken, _run: &RunInfo) -> HandlerResult {
        token.token.as_str().parse::<u8>()?;
        Ok(())
    }
}

fn line(event: &Event) -> String {
    let kind = event.kind();
    match event {
        Event::LlmStart(start) => format!("{kind} {:?}", start.prompt),
        Event::LlmNewToken(token) => format!("{kind} {:?}", token.token.as_str()),
        Event::LlmEnd(end) => format!("{kind} {:?}", end.result.text()),
        Event::LlmError(error) => format!("{kind} {} after {:?}", error.error, error.partial.text()),
        Event::ChainStart(start) => format!("{kind} {}", start.inputs),
        Event::ChainEnd(end) => format!("{kind} {} with {} open", end.outputs, end.open_children),
        _ => format!("{kind}"),
    }
}

/// Pending once, so that a handler takes more than a poll.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if core::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A clock that stands, at a time that 32 bits do not hold.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Option<Duration> {
        Some(Duration::from_millis(1_767_225_600_123))
    }
}

/// Bytes that tell how often they were asked for, so that ids are the same everywhere.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        bytes.fill(u8::try_from(count).unwrap_or(u8::MAX));
    }
}
