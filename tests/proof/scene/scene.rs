//! The scene that every target plays: a run that is emitted to its end, and a run that is dropped
//! inside a chain, with handlers of every kind.
//!
//! The programs for bare targets include it, and a test that runs it on every runtime. All of them
//! write `scene.log`. Which handler is called first depends on the runtime, so the log is compared
//! handler by handler.

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

/// Takes the handlers' lines: the handler's name and the text.
pub(crate) type Log = Arc<dyn Fn(&'static str, String) + Send + Sync>;

/// Plays the scene on a runtime. Everything is handled when it returns.
pub(crate) async fn play(
    runtime: impl Spawner + BlockingExecutor,
    log: Log,
) -> Result<(), RunError> {
    let failures = log.clone();
    let options = HandlerOptions::new;
    let callbacks =
        CallbackManager::without_timer_with_sources(runtime, Stopped, Counted::default())
            .on_handler_failure(move |failure| failures("report", format!("{failure}")))
            .with_handler(Watcher::new("sync", &log))
            .with_handler_options(Watcher::new("sync-inline", &log), Awaited::new().inline())
            .with_handler_options(Watcher::new("sync-pipelined", &log), Pipelined::new(1))
            .with_async_handler(Watcher::new("async", &log))
            .with_async_handler_options(
                Watcher::new("async-on-runtime", &log),
                options().on_runtime(),
            )
            .with_async_handler_options(Broken, options().name("broken"))
            .with_inheritable_tags(["scene"]);
    emit_whole(&callbacks).await?;
    drop_early(&callbacks).await?;
    callbacks.flush().await?;
    for stats in callbacks.stats().iter().filter(|stats| stats.failed > 0) {
        log("stats", format!("{}: {} handled, {} failed", stats.name, stats.handled, stats.failed));
    }
    Ok(())
}

/// A run with three tokens and an end.
async fn emit_whole(callbacks: &CallbackManager) -> Result<(), RunError> {
    let mut run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await?;
    for token in ["Why", " not", "?"] {
        run.on_llm_new_token(token).await?;
    }
    run.end(LlmResult::from_text("Why not?")).await?;
    Ok(())
}

/// A chain whose model is dropped after a token.
async fn drop_early(callbacks: &CallbackManager) -> Result<(), RunError> {
    let chain =
        callbacks.on_chain_start(ChainStart::new("my-chain", json!({ "question": 42 }))).await?;
    let mut run = chain.child().on_llm_start(LlmStart::new("my-model", "Tell me another")).await?;
    run.on_llm_new_token("Because").await?;
    drop(run);
    callbacks.flush().await?;
    chain.end(json!(null)).await?;
    Ok(())
}

/// A handler, sync or async, that writes each event.
struct Watcher {
    name: &'static str,
    log: Log,
}

impl Watcher {
    fn new(name: &'static str, log: &Log) -> Self {
        Self { name, log: log.clone() }
    }

    fn write(&self, event: &Event, cx: &EventContext) {
        let time = cx.time().map(|time| format!(" at {}", time.as_millis())).unwrap_or_default();
        let parent = cx.parent_id().map(|id| format!(" in {id}")).unwrap_or_default();
        let (id, name, number, tags, what) =
            (cx.id(), cx.name(), cx.sequence().unwrap_or_default(), cx.tags(), line(event));
        (self.log)(self.name, format!("{id}{parent} {name} {tags:?} #{number}{time}: {what}"));
    }
}

impl CallbackHandler for Watcher {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        self.write(event, cx);
        Ok(())
    }
}

impl AsyncCallbackHandler for Watcher {
    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(async move {
            Yield(false).await;
            self.write(event, cx);
            Ok(())
        })
    }
}

/// A handler that wants numbers, and fails at every token.
struct Broken;

impl AsyncCallbackHandler for Broken {
    async fn on_llm_new_token(&self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
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
        Event::LlmError(error) => {
            format!("{kind} {} after {:?}", error.error, error.partial.text())
        }
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

/// A clock that stands still at a time that needs more than 32 bits.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Option<Duration> {
        Some(Duration::from_millis(1_767_225_600_123))
    }
}

/// Bytes that count the calls, so that ids are the same everywhere.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Entropy for Counted {
    fn fill(&self, bytes: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        bytes.fill(u8::try_from(count).unwrap_or(u8::MAX));
    }
}
