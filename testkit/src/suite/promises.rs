//! The promises of rappel on the runtime under test, in short. Core's own tests have the details.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use rappel_core::prelude::*;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, FailureCause, HandlerStats, SpawnError, Spawner, Timer};

use super::{Alarm, LIMIT, Shared};

const RUNS: usize = 20;
const TOKENS: usize = 20;

/// Lines that handlers write.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        lock(&self.0)
    }

    /// The lines of a run.
    fn of(&self, run: &str) -> Vec<String> {
        let prefix = format!("{run}: ");
        let lines = self.lines();
        let of_run = lines.iter().filter_map(|line| line.strip_prefix(&prefix));
        of_run.map(str::to_owned).collect()
    }

    fn sync(&self) -> impl CallbackHandler + Send + use<> {
        let log = self.clone();
        handler_fn(move |event, cx| {
            log.lines().push(line(event, cx));
            Ok(())
        })
    }

    /// Yields in each call, so that a call takes more than one poll.
    fn asynchronous(&self) -> impl AsyncCallbackHandler + use<> {
        let log = self.clone();
        async_handler_fn(async move |event, cx| {
            yield_now().await;
            log.lines().push(line(event, cx));
            Ok(())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn line(event: &Event, cx: &EventContext) -> String {
    let what = match event {
        Event::LlmNewToken(token) => token.token.to_string(),
        Event::LlmError(error) => format!("{}: {}", error.error, error.partial.text()),
        Event::ToolError(error) => error.error.to_string(),
        event => event.kind().method().to_owned(),
    };
    format!("{}: {what}", cx.name())
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a future once, and drops it.
async fn poll_once<F: Future>(future: F) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let _ = future.as_mut().poll(cx);
        Poll::Ready(())
    })
    .await;
}

/// Polls a future that must not wait.
fn poll_now<F: Future>(future: F) -> Result<F::Output, &'static str> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    // An emitter may yield to other tasks, so one poll may not be enough.
    for _ in 0..100 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Ok(output);
        }
    }
    Err("emitting waits inside a handler's call")
}

/// Adds a handler in each delivery that loses nothing.
fn watched(mut callbacks: CallbackManager) -> (CallbackManager, Vec<(&'static str, Log)>) {
    let mut logs = Vec::new();
    let mut log = |name| {
        let log = Log::default();
        logs.push((name, log.clone()));
        log
    };
    let background = Background::new(4).open_traces(10 * RUNS).overflow(Overflow::Wait);
    callbacks = callbacks
        .with_handler(log("sync").sync())
        .with_handler_options(log("sync, pipelined").sync(), Pipelined::new(1))
        .with_handler_options(log("sync, in the background").sync(), background)
        .with_async_handler(log("async").asynchronous())
        .with_async_handler_options(
            log("async, on the runtime").asynchronous(),
            HandlerOptions::new().on_runtime(),
        )
        .with_async_handler_options(log("async, pipelined").asynchronous(), Pipelined::new(1))
        .with_async_handler_options(log("async, in the background").asynchronous(), background);
    (callbacks, logs)
}

type Failures = Arc<Mutex<Vec<String>>>;

/// Makes a manager that records the failures of handlers.
fn reporting<R: Spawner + BlockingExecutor>(runtime: R) -> (CallbackManager, Failures) {
    record_failures(CallbackManager::without_timer(runtime))
}

fn record_failures(callbacks: CallbackManager) -> (CallbackManager, Failures) {
    let failures = Failures::default();
    let recorded = failures.clone();
    let report = move |failure: &HandlerFailure| lock(&recorded).push(failure.to_string());
    (callbacks.on_handler_failure(report), failures)
}

fn assert_none(failures: &Failures) {
    let failures = lock(failures);
    assert!(failures.is_empty(), "handlers failed, or could not be called: {failures:#?}");
}

async fn flush(callbacks: &CallbackManager) {
    callbacks.flush().await.expect("a flush outside of handlers");
}

async fn start(callbacks: &CallbackManager, name: &str) -> LlmRun {
    let start = callbacks.on_llm_start(LlmStart::new(name, "prompt"));
    start.await.expect("a start")
}

async fn streamed(callbacks: CallbackManager, name: String) -> Result<(), EmitError> {
    let mut run = callbacks.on_llm_start(LlmStart::new(name, "prompt")).await?;
    for number in 0..TOKENS {
        run.on_llm_new_token(format!("{number}")).await?;
    }
    run.end("all").await
}

/// The lines of a run that was streamed.
fn whole() -> Vec<String> {
    let mut lines = vec!["on_llm_start".to_owned()];
    lines.extend((0..TOKENS).map(|number| number.to_string()));
    lines.push("on_llm_end".to_owned());
    lines
}

async fn all_streamed<R>(runtime: &Shared<R>, callbacks: &CallbackManager)
where
    R: Spawner + BlockingExecutor,
{
    let spawn = |run| {
        let run = streamed(callbacks.clone(), format!("run {run}"));
        runtime.go("a task that emits", run)
    };
    let runs: Vec<_> = (0..RUNS).map(spawn).collect();
    for run in runs {
        run.await.expect("a run without errors");
    }
}

/// Handlers in each delivery get the events of each run in order, while many runs are open.
///
/// # Panics
/// If a handler does not.
pub async fn events_come_in_order<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let (callbacks, logs) = watched(callbacks);
    all_streamed(&runtime, &callbacks).await;
    flush(&callbacks).await;
    for run in 0..RUNS {
        for (handler, log) in &logs {
            assert_eq!(log.of(&format!("run {run}")), whole(), "{handler}");
        }
    }
    assert_none(&failures);
}

/// A run ends exactly once: by its end, by an error, or when it is dropped.
///
/// # Panics
/// If a handler gets no end, two ends, or another end.
pub async fn every_run_ends_once<R: Spawner + BlockingExecutor>(runtime: R) {
    let (callbacks, failures) = reporting(runtime);
    let (callbacks, logs) = watched(callbacks);
    let ended = start(&callbacks, "ended").await;
    ended.end("all").await.expect("an end");
    let failed = start(&callbacks, "failed").await;
    failed.fail("broken").await.expect("an error");
    let mut run = start(&callbacks, "dropped").await;
    run.on_llm_new_token("a").await.expect("a token");
    drop(run);
    let mut run = start(&callbacks, "dropped while it emits").await;
    poll_once(run.on_llm_new_token("a")).await;
    drop(run);
    flush(&callbacks).await;
    for (handler, log) in &logs {
        assert_eq!(log.of("ended"), ["on_llm_start", "on_llm_end"], "{handler}");
        assert_eq!(log.of("failed"), ["on_llm_start", "broken: "], "{handler}");
        for run in ["dropped", "dropped while it emits"] {
            assert_eq!(log.of(run), ["on_llm_start", "a", "cancelled: a"], "{handler}, {run}");
        }
    }
    assert_none(&failures);
}

/// A flush waits for events that no emitter waits for.
///
/// # Panics
/// If it returns before they are handled.
pub async fn a_flush_waits_for_all<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let (log, log_async) = (Log::default(), Log::default());
    let background = Background::new(TOKENS).open_traces(10 * RUNS);
    let callbacks = callbacks
        .with_handler_options(log.sync(), background)
        .with_async_handler_options(log_async.asynchronous(), background);
    for round in 1..=3 {
        all_streamed(&runtime, &callbacks).await;
        flush(&callbacks).await;
        for log in [&log, &log_async] {
            assert_eq!(log.lines().len(), round * RUNS * (TOKENS + 2));
        }
    }
    assert_none(&failures);
}

/// Errors and panics of handlers harm neither other handlers, nor the run, nor the runtime.
///
/// # Panics
/// If they do.
pub async fn a_failure_stays_where_it_is<R: Spawner + BlockingExecutor>(runtime: R) {
    const PANIC: &str = "a handler's panic, which belongs to this test";
    let (callbacks, failures) = reporting(runtime);
    let (callbacks, logs) = watched(callbacks);
    let callbacks = callbacks
        .with_handler(handler_fn(|_, _| Err(HandlerError::new("broken"))))
        .with_handler(handler_fn(|_, _| panic!("{PANIC}")))
        .with_async_handler_options(
            async_handler_fn(async |_, _| panic!("{PANIC}")),
            HandlerOptions::new().on_runtime(),
        );
    let run = streamed(callbacks.clone(), "run".to_owned());
    run.await.expect("a run without errors");
    flush(&callbacks).await;
    for (handler, log) in &logs {
        assert_eq!(log.of("run"), whole(), "{handler}");
    }
    let failures = lock(&failures);
    assert_eq!(failures.len(), 3 * (TOKENS + 2), "{failures:#?}");
}

/// A call that began goes on when its emitter is dropped.
///
/// # Panics
/// If it does not.
pub async fn what_began_runs_to_its_end<R: Spawner + BlockingExecutor>(runtime: R) {
    let (callbacks, failures) = reporting(runtime);
    let log = Log::default();
    let (go_on, waits) = oneshot::channel::<()>();
    let (waits, written) = (Arc::new(Mutex::new(Some(waits))), log.clone());
    let handler = async_handler_fn(async move |event, cx| {
        let line = line(event, cx);
        written.lines().push(format!("{line} begins"));
        let waits = lock(&waits).take();
        if let Some(waits) = waits {
            let _ = waits.await;
        }
        written.lines().push(format!("{line} ends"));
        Ok(())
    });
    let callbacks = callbacks.with_async_handler(handler);
    poll_once(callbacks.on_llm_start(LlmStart::new("run", "prompt"))).await;
    assert_eq!(*log.lines(), ["run: on_llm_start begins"]);
    go_on.send(()).expect("the call goes on");
    flush(&callbacks).await;
    let lines = log.lines();
    assert_eq!(lines[..2], ["run: on_llm_start begins", "run: on_llm_start ends"]);
    assert_eq!(lines[2..], ["run: cancelled:  begins", "run: cancelled:  ends"]);
    assert_none(&failures);
}

/// A sync handler does not block the emitter's thread, unless blocking jobs share that thread
/// (`linger` is zero).
///
/// # Panics
/// If it does.
pub async fn sync_handlers_are_off_the_loop<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let (emitter, calls) = (thread::current().id(), Arc::new(Mutex::new(Vec::new())));
    let (release, waits) = mpsc::channel::<()>();
    let (noted, has_threads) = (calls.clone(), runtime.has_threads());
    let handler = handler_fn(move |_, _| {
        let is_elsewhere = thread::current().id() != emitter;
        lock(&noted).push(is_elsewhere);
        if is_elsewhere && has_threads {
            // Blocks until the sender is dropped.
            let _ = waits.recv();
        }
        Ok(())
    });
    let callbacks = callbacks.with_handler_options(handler, Pipelined::new(TOKENS));
    let mut run = start(&callbacks, "run").await;
    for number in 0..TOKENS {
        run.on_llm_new_token(format!("{number}")).await.expect("a token");
    }
    drop(release);
    run.end("all").await.expect("an end");
    let calls = lock(&calls);
    assert_eq!(calls.len(), TOKENS + 2);
    assert!(
        !has_threads || calls.iter().all(|is_elsewhere| *is_elsewhere),
        "a sync handler is called on the emitter's thread, and `linger` is not zero"
    );
    assert_none(&failures);
}

/// The calls of a sync handler do not overlap, while many runs are open.
///
/// # Panics
/// If they do.
pub async fn calls_of_a_sync_handler_do_not_overlap<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let is_inside = AtomicBool::new(false);
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let handler = handler_fn(move |_, _| {
        assert!(!is_inside.swap(true, Ordering::SeqCst), "two calls overlap");
        thread::yield_now();
        *lock(&counted) += 1;
        is_inside.store(false, Ordering::SeqCst);
        Ok(())
    });
    let callbacks = callbacks.with_handler(handler);
    all_streamed(&runtime, &callbacks).await;
    assert_eq!(*lock(&calls), RUNS * (TOKENS + 2));
    assert_none(&failures);
}

/// Handlers in each delivery get the ends of children before the end of their parent. A parent that
/// ends closes its open children first, the deepest first.
///
/// # Panics
/// If a handler gets another order.
pub async fn a_tree_ends_from_its_leaves<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let (callbacks, logs) = watched(callbacks);
    let chain = callbacks.on_chain_start(ChainStart::new("chain", "in"));
    let chain = chain.await.expect("a start");
    all_streamed(&runtime, &chain.child()).await;
    let tool = chain.child().on_tool_start(ToolStart::new("tool", "in"));
    let tool = tool.await.expect("a start");
    let mut model = start(&tool.child(), "model").await;
    chain.end("out").await.expect("an end");
    let late = model.on_llm_new_token("late").await;
    assert!(matches!(late, Err(EmitError::RunClosed)), "the chain's end closes it: {late:?}");
    drop((model, tool));
    flush(&callbacks).await;
    let ends = ["model: cancelled: ", "tool: cancelled", "chain: on_chain_end"];
    for (handler, log) in &logs {
        for run in 0..RUNS {
            assert_eq!(log.of(&format!("run {run}")), whole(), "{handler}");
        }
        let lines = log.lines();
        assert_eq!(lines[0], "chain: on_chain_start", "{handler}");
        assert_eq!(lines[lines.len() - ends.len()..], ends, "{handler}");
    }
    assert_none(&failures);
}

/// Sync handlers can emit events inside their calls. The events are queued and handled after the
/// call, and emitting does not wait for that.
///
/// # Panics
/// If emitting waits, or an event is lost or comes in another order.
pub async fn events_emitted_in_a_call_are_queued<R: Spawner + BlockingExecutor>(runtime: R) {
    let (mut callbacks, failures) = reporting(runtime);
    let logs: [Log; 2] = Default::default();
    for (number, log) in logs.iter().enumerate() {
        let log = log.clone();
        callbacks.add_handler(handler_fn(move |event, cx| {
            log.lines().push(line(event, cx));
            if let Event::LlmStart(_) = event {
                emit_in_a_call(number)?;
                log.lines().push("run: the call returns".to_owned());
            }
            Ok(())
        }));
    }
    // The current run inside the calls is that of the emitter.
    let chain = callbacks.on_chain_start(ChainStart::new("chain", "in"));
    let chain = chain.await.expect("a start");
    let run = streamed(chain.child(), "run".to_owned()).in_run(&chain);
    run.await.expect("a run without errors");
    chain.end("out").await.expect("an end");
    flush(&callbacks).await;
    assert_none(&failures);
    for log in &logs {
        assert_eq!(log.of("chain"), ["on_chain_start", "on_chain_end"]);
        let mut expected = whole();
        expected.insert(1, "the call returns".to_owned());
        assert_eq!(log.of("run"), expected);
        let lines = log.lines().clone();
        let place = |expected: &str| lines.iter().position(|line| line == expected);
        // Each handler gets the events of both.
        for number in 0..logs.len() {
            assert_eq!(log.of(&format!("custom {number}")), ["on_custom_event"]);
            let custom = place(&format!("custom {number}: on_custom_event"));
            let is_queued = place("run: the call returns") < custom && custom < place("run: 0");
            assert!(is_queued, "{lines:#?}");
            let tool = log.of(&format!("tool {number}"));
            assert_eq!(tool, ["on_tool_start", "on_tool_end"]);
        }
    }
}

/// Emits a custom event and a whole run inside the call of handler `number`.
fn emit_in_a_call(number: usize) -> HandlerResult {
    let callbacks = CallbackManager::current().ok_or("no current run inside a handler's call")?;
    let custom = CustomEvent::new(format!("custom {number}"), number);
    poll_now(callbacks.on_custom_event(custom))??;
    let start = ToolStart::new(format!("tool {number}"), "in");
    let tool = poll_now(callbacks.on_tool_start(start))??;
    poll_now(tool.end("out"))??;
    Ok(())
}

/// A shutdown delivers queued events, ends open runs, and reports both.
///
/// # Panics
/// If an event is lost.
pub async fn a_shutdown_delivers_and_reports<R: Spawner + BlockingExecutor>(runtime: R) {
    let timed = WithTimer(runtime, Instant::now());
    let (callbacks, failures) = record_failures(CallbackManager::new(timed));
    let (callbacks, logs) = watched(callbacks);
    let run = streamed(callbacks.clone(), "ended".to_owned());
    run.await.expect("a run without errors");
    let mut open = start(&callbacks, "open").await;
    let early = callbacks.shutdown(Duration::ZERO).await;
    let early = early.expect("a shutdown outside of handlers");
    assert_eq!(early.closed_runs, 1, "the run that is open at the deadline");
    let report = callbacks.shutdown(LIMIT).await;
    let report = report.expect("a shutdown outside of handlers");
    let late = open.on_llm_new_token("late").await;
    assert!(
        matches!(late, Err(EmitError::ShutDown | EmitError::RunClosed)),
        "an event after the shutdown: {late:?}"
    );
    for (handler, log) in &logs {
        assert_eq!(log.of("ended"), whole(), "{handler}");
        assert_eq!(log.of("open"), ["on_llm_start", "cancelled: "], "{handler}");
    }
    let counts = |stats: &HandlerStats| {
        let lost = stats.failed + stats.dropped + stats.refused_runs + stats.pending;
        (stats.handled, lost)
    };
    let counts: Vec<_> = report.handlers.iter().map(counts).collect();
    assert_eq!(counts, vec![(TOKENS + 4, 0); logs.len()]);
    assert_none(&failures);
}

/// The runtime under test, with a timer: a thread for each sleep.
struct WithTimer<R>(R, Instant);

impl<R: Spawner> Spawner for WithTimer<R> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

impl<R: BlockingExecutor> BlockingExecutor for WithTimer<R> {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.0.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        self.0.linger()
    }
}

impl<R: Send + Sync + 'static> Timer for WithTimer<R> {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let (ring, rung) = oneshot::channel();
        let alarm = Alarm::start(duration, move || _ = ring.send(()));
        Box::pin(async move {
            let _ = rung.await;
            drop(alarm);
        })
    }

    fn now(&self) -> Duration {
        self.1.elapsed()
    }
}

/// A runtime that is shut down drops its tasks and accepts no more. Emitters and flushes that need it
/// return at once, with an error.
///
/// # Panics
/// If one returns another result. One that waits forever makes the test hang.
pub async fn once_it_is_gone_nothing_waits<R: Spawner + BlockingExecutor>(
    runtime: R,
    shut_down: impl FnOnce(&R),
) {
    let runtime = Shared::new(runtime);
    let gone = Arc::new(Mutex::new(0));
    let counted = gone.clone();
    let callbacks = CallbackManager::without_timer(runtime.clone());
    let callbacks = callbacks.on_handler_failure(move |failure| {
        assert!(matches!(failure.cause, FailureCause::RuntimeGone), "{failure}");
        *lock(&counted) += 1;
    });
    let (log, log_async) = (Log::default(), Log::default());
    let callbacks = callbacks
        .with_handler(log.sync())
        .with_async_handler_options(log_async.asynchronous(), HandlerOptions::new().on_runtime());
    let mut run = start(&callbacks, "run").await;
    let (kept, waits) = oneshot::channel::<()>();
    let (owned, dropped) = oneshot::channel::<()>();
    let task = async move {
        let _ = waits.await;
        drop(owned);
    };
    let spawned = runtime.spawn_boxed(Box::pin(task));
    assert_eq!(spawned, Ok(()), "the runtime accepts no task");
    shut_down(&runtime.0);
    assert!(dropped.await.is_err(), "a pending task is dropped");
    drop(kept);
    let emitted = run.on_llm_new_token("a").await;
    assert!(matches!(emitted, Err(EmitError::RuntimeGone(_))), "{emitted:?}");
    drop(run);
    flush(&callbacks).await;
    assert_eq!(*lock(&gone), 4, "a token and an end, for each handler");
    for log in [log, log_async] {
        assert_eq!(*log.lines(), ["run: on_llm_start"]);
    }
}
