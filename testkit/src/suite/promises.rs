//! What rappel promises, on the runtime under test: in short, what its own suite tests at length.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;
use rappel_core::prelude::*;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, EmitError, FailureCause, SpawnError, Spawner, Threads, Timer};

use super::{LIMIT, Shared};

const RUNS: usize = 20;
const TOKENS: usize = 20;

/// Lines that handlers write.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written of a run.
    fn of(&self, run: &str) -> Vec<String> {
        let prefix = format!("{run}: ");
        self.lines()
            .iter()
            .filter_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect()
    }

    fn sync(&self) -> impl CallbackHandler + use<> {
        let log = self.clone();
        handler_fn(move |event, run| {
            log.lines().push(line(event, run));
            Ok(())
        })
    }

    /// Yields in each call, so that it takes more than a poll.
    fn asynchronous(&self) -> impl AsyncCallbackHandler + use<> {
        let log = self.clone();
        async_handler_fn(move |event, run| {
            let (log, line) = (log.clone(), line(event, run));
            async move {
                yield_now().await;
                log.lines().push(line);
                Ok(())
            }
        })
    }
}

fn line(event: &Event, run: &RunInfo) -> String {
    let what = match event {
        Event::LlmNewToken(token) => token.token.to_string(),
        Event::LlmError(error) => format!("{}: {}", error.error, error.partial.text()),
        event => event.kind().method().to_owned(),
    };
    format!("{}: {what}", run.name())
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

/// A handler in each delivery that loses nothing.
fn watched<R>(mut callbacks: CallbackManager<R>) -> (CallbackManager<R>, Vec<(&'static str, Log)>) {
    let mut logs = Vec::new();
    let mut log = |name| {
        let log = Log::default();
        logs.push((name, log.clone()));
        log
    };
    let narrow = || HandlerOptions::new().delivery(Pipelined { capacity: 1 });
    let background = || {
        let delivery = Background {
            capacity: 4,
            open_runs: 10 * RUNS,
        };
        HandlerOptions::new().delivery(delivery).overflow(Overflow::Wait)
    };
    callbacks.add_handler(log("sync").sync());
    callbacks.add_handler_options(log("sync, pipelined").sync(), narrow());
    callbacks.add_handler_options(log("sync, in the background").sync(), background());
    callbacks.add_async_handler(log("async").asynchronous());
    callbacks.add_async_handler_options(log("async, on the runtime").asynchronous(), HandlerOptions::new().on_runtime());
    callbacks.add_async_handler_options(log("async, pipelined").asynchronous(), narrow());
    callbacks.add_async_handler_options(log("async, in the background").asynchronous(), background());
    (callbacks, logs)
}

type Failures = Arc<Mutex<Vec<String>>>;

/// A manager that keeps what fails.
fn reporting<R: Spawner + BlockingExecutor>(runtime: R) -> (CallbackManager<R>, Failures) {
    let failures = Failures::default();
    let kept = failures.clone();
    let report = move |failure: &rappel_core::HandlerFailure| kept.lock().unwrap_or_else(PoisonError::into_inner).push(failure.to_string());
    (CallbackManager::new(runtime).on_handler_failure(report), failures)
}

fn assert_none(failures: &Failures) {
    let failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(failures.is_empty(), "the runtime has dropped what it took: {failures:#?}");
}

async fn streamed(callbacks: CallbackManager, name: String) -> Result<(), RunError> {
    let run = callbacks.on_llm_start(LlmStart::new(name, "prompt")).await?;
    for number in 0..TOKENS {
        run.on_llm_new_token(format!("{number}")).await?;
    }
    run.end(LlmResult::from_text("all")).await?;
    Ok(())
}

fn whole() -> Vec<String> {
    let mut lines = vec!["on_llm_start".to_owned()];
    lines.extend((0..TOKENS).map(|number| number.to_string()));
    lines.push("on_llm_end".to_owned());
    lines
}

async fn all_streamed<R: Spawner + BlockingExecutor>(runtime: &Shared<R>, callbacks: &CallbackManager) {
    let runs: Vec<_> = (0..RUNS)
        .map(|run| runtime.go("a task that emits", streamed(callbacks.clone(), format!("run {run}"))))
        .collect();
    for run in runs {
        run.await.expect("a run that goes well");
    }
}

/// Handlers in each delivery see each run's events in order, of many runs that go on at a time.
///
/// # Panics
/// Where one does not.
pub async fn events_come_in_order<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let (callbacks, logs) = watched(callbacks.erase());
    all_streamed(&runtime, &callbacks).await;
    callbacks.flush().await;
    for run in 0..RUNS {
        for (handler, log) in &logs {
            assert_eq!(log.of(&format!("run {run}")), whole(), "{handler}");
        }
    }
    assert_none(&failures);
}

/// However a run is given up, its handlers hear of one end.
///
/// # Panics
/// Where one hears of none, of two, or of another.
pub async fn every_run_ends_once<R: Spawner + BlockingExecutor>(runtime: R) {
    let (callbacks, failures) = reporting(runtime);
    let (callbacks, logs) = watched(callbacks.erase());
    let start = |name: &'static str| callbacks.on_llm_start(LlmStart::new(name, "prompt"));
    start("ended")
        .await
        .expect("a start")
        .end(LlmResult::from_text("all"))
        .await
        .expect("an end");
    start("failed").await.expect("a start").error("broken").await.expect("an end");
    let run = start("dropped").await.expect("a start");
    run.on_llm_new_token("a").await.expect("a token");
    drop(run);
    let run = start("dropped while it emits").await.expect("a start");
    poll_once(run.on_llm_new_token("a")).await;
    drop(run);
    callbacks.flush().await;
    for (handler, log) in &logs {
        assert_eq!(log.of("ended"), ["on_llm_start", "on_llm_end"], "{handler}");
        assert_eq!(log.of("failed"), ["on_llm_start", "broken: "], "{handler}");
        assert_eq!(log.of("dropped"), ["on_llm_start", "a", "cancelled: a"], "{handler}");
        assert_eq!(log.of("dropped while it emits"), ["on_llm_start", "a", "cancelled: a"], "{handler}");
    }
    assert_none(&failures);
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

/// A flush waits for what nobody else waits for.
///
/// # Panics
/// Where it comes back before, or something was lost.
pub async fn a_flush_waits_for_all<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let callbacks = callbacks.erase();
    let (log, log_async) = (Log::default(), Log::default());
    let background = || {
        let delivery = Background {
            capacity: TOKENS,
            open_runs: 10 * RUNS,
        };
        HandlerOptions::new().delivery(delivery)
    };
    let callbacks = callbacks
        .with_handler_options(log.sync(), background())
        .with_async_handler_options(log_async.asynchronous(), background());
    for round in 1..=3 {
        all_streamed(&runtime, &callbacks).await;
        callbacks.flush().await;
        for log in [&log, &log_async] {
            assert_eq!(log.lines().len(), round * RUNS * (TOKENS + 2));
        }
    }
    assert_none(&failures);
}

/// Handlers that fail and panic harm no other, nor the run, nor the runtime.
///
/// # Panics
/// Where they do.
pub async fn a_failure_stays_where_it_is<R: Spawner + BlockingExecutor>(runtime: R) {
    let (callbacks, failures) = reporting(runtime);
    let (callbacks, logs) = watched(callbacks.erase());
    let callbacks = callbacks
        .with_handler(handler_fn(|_, _| Err(HandlerError::new("broken"))))
        .with_handler(handler_fn(|_, _| panic!("a handler's panic, which belongs to this test")))
        .with_async_handler_options(
            async_handler_fn(|_, _| async { panic!("a handler's panic, which belongs to this test") }),
            HandlerOptions::new().on_runtime(),
        );
    streamed(callbacks.clone(), "run".to_owned()).await.expect("a run that goes well");
    callbacks.flush().await;
    for (handler, log) in &logs {
        assert_eq!(log.of("run"), whole(), "{handler}");
    }
    let failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(failures.len(), 3 * (TOKENS + 2), "{failures:#?}");
}

/// A call that began goes on when its emitter is dropped.
///
/// # Panics
/// Where it does not.
pub async fn what_began_runs_to_its_end<R: Spawner + BlockingExecutor>(runtime: R) {
    let (callbacks, failures) = reporting(runtime);
    let log = Log::default();
    let (go_on, waits) = oneshot::channel::<()>();
    let (waits, written) = (Arc::new(Mutex::new(Some(waits))), log.clone());
    let handler = async_handler_fn(move |event, run| {
        let (log, line) = (written.clone(), line(event, run));
        let waits = waits.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            log.lines().push(format!("{line} begins"));
            if let Some(waits) = waits {
                let _ = waits.await;
            }
            log.lines().push(format!("{line} ends"));
            Ok(())
        }
    });
    let callbacks = callbacks.with_async_handler(handler);
    poll_once(callbacks.on_llm_start(LlmStart::new("run", "prompt"))).await;
    assert_eq!(*log.lines(), ["run: on_llm_start begins"]);
    go_on.send(()).expect("the call goes on");
    callbacks.flush().await;
    let cancelled = ["run: cancelled:  begins", "run: cancelled:  ends"];
    assert_eq!(log.lines()[..2], ["run: on_llm_start begins", "run: on_llm_start ends"]);
    assert_eq!(log.lines()[2..], cancelled);
    assert_none(&failures);
}

/// A sync handler is not called on the emitter's thread, which goes on while it blocks; unless jobs share that thread, as their `linger` of zero says.
///
/// # Panics
/// Where it is.
pub async fn sync_handlers_are_off_the_loop<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let (emitter, elsewhere) = (thread::current().id(), Arc::new(Mutex::new(Vec::new())));
    let (let_go, waits) = mpsc::channel::<()>();
    let (threads, has_threads) = (elsewhere.clone(), runtime.has_threads());
    let handler = handler_fn(move |_, _| {
        let other = thread::current().id() != emitter;
        threads.lock().unwrap_or_else(PoisonError::into_inner).push(other);
        if other && has_threads {
            // Until it is let go, or for good.
            let _ = waits.recv();
        }
        Ok(())
    });
    let options = HandlerOptions::new().delivery(Pipelined { capacity: TOKENS });
    let callbacks = callbacks.with_handler_options(handler, options);
    let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.expect("a start");
    for number in 0..TOKENS {
        run.on_llm_new_token(format!("{number}")).await.expect("a token");
    }
    drop(let_go);
    run.end(LlmResult::from_text("all")).await.expect("an end");
    let threads = elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(threads.len(), TOKENS + 2);
    assert!(
        !has_threads || threads.iter().all(|other| *other),
        "a sync handler is called on the emitter's thread, and `linger` is not zero"
    );
    assert_none(&failures);
}

/// Calls of a sync handler do not overlap, of however many runs they are.
///
/// # Panics
/// Where they do.
pub async fn calls_of_a_sync_handler_do_not_overlap<R: Spawner + BlockingExecutor>(runtime: R) {
    let runtime = Shared::new(runtime);
    let (callbacks, failures) = reporting(runtime.clone());
    let (within, mut calls) = (AtomicBool::new(false), 0);
    let count = Arc::new(Mutex::new(0));
    let counted = count.clone();
    let handler = handler_fn(move |_, _| {
        assert!(!within.swap(true, Ordering::SeqCst), "a call inside a call");
        thread::yield_now();
        calls += 1;
        *counted.lock().unwrap_or_else(PoisonError::into_inner) = calls;
        within.store(false, Ordering::SeqCst);
        Ok(())
    });
    let callbacks = callbacks.with_handler(handler).erase();
    all_streamed(&runtime, &callbacks).await;
    assert_eq!(*count.lock().unwrap_or_else(PoisonError::into_inner), RUNS * (TOKENS + 2));
    assert_none(&failures);
}

/// A shutdown delivers what is queued, ends what is open, and tells of both.
///
/// # Panics
/// Where something was lost.
pub async fn a_shutdown_delivers_and_tells<R: Spawner + BlockingExecutor>(runtime: R) {
    let (callbacks, failures) = reporting(Timed(runtime, Threads::new()));
    let (callbacks, logs) = watched(callbacks);
    streamed(callbacks.clone().erase(), "ended".to_owned())
        .await
        .expect("a run that goes well");
    let open = callbacks.on_llm_start(LlmStart::new("open", "prompt")).await.expect("a start");
    // Nobody ends it: at a deadline that has come it is closed.
    let early = callbacks.shutdown(Duration::ZERO).await;
    assert_eq!(early.closed_runs, 1);
    let report = callbacks.shutdown(LIMIT).await;
    assert!(
        matches!(open.on_llm_new_token("a").await, Err(EmitError::ShutDown)),
        "nothing comes after it"
    );
    for (handler, log) in &logs {
        assert_eq!(log.of("ended"), whole(), "{handler}");
        assert_eq!(log.of("open"), ["on_llm_start", "cancelled: "], "{handler}");
    }
    let told = |stats: &rappel_core::HandlerStats| (stats.handled, stats.failed + stats.dropped + stats.refused_runs + stats.pending);
    let expected = vec![(TOKENS + 4, 0); logs.len()];
    assert_eq!(report.handlers.iter().map(told).collect::<Vec<_>>(), expected);
    assert_none(&failures);
}

/// A runtime under test, and a timer for what needs one.
struct Timed<R>(R, Threads);

impl<R: Spawner> Spawner for Timed<R> {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.0.spawn_boxed(task)
    }

    fn may_block(&self) -> bool {
        self.0.may_block()
    }
}

impl<R: BlockingExecutor> BlockingExecutor for Timed<R> {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        self.0.spawn_blocking_boxed(job)
    }

    fn linger(&self) -> Duration {
        self.0.linger()
    }
}

impl<R: Send + Sync + 'static> Timer for Timed<R> {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.1.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.1.now()
    }
}

/// A runtime that is shut down drops what it was given, and takes no more: whoever waits is told at once.
///
/// # Panics
/// Where somebody is told nothing, or something else. One who waits for ever is found to hang.
pub async fn once_it_is_gone_nobody_waits<R: Spawner + BlockingExecutor>(runtime: R, shut_down: impl FnOnce(&R)) {
    let runtime = Shared::new(runtime);
    let gone = Arc::new(Mutex::new(0));
    let counted = gone.clone();
    let callbacks = CallbackManager::new(runtime.clone()).on_handler_failure(move |failure| {
        assert!(matches!(failure.cause, FailureCause::RuntimeGone), "{failure}");
        *counted.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    });
    let (log, log_async) = (Log::default(), Log::default());
    let callbacks = callbacks
        .with_handler(log.sync())
        .with_async_handler_options(log_async.asynchronous(), HandlerOptions::new().on_runtime());
    let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.expect("a start");
    let (kept, waits) = oneshot::channel::<()>();
    let (given, dropped) = oneshot::channel::<()>();
    let task = async move {
        let _ = waits.await;
        drop(given);
    };
    assert_eq!(runtime.spawn_boxed(Box::pin(task)), Ok(()), "the runtime takes no task");
    shut_down(&runtime.0);
    assert!(dropped.await.is_err(), "a task that waits is dropped");
    drop(kept);
    let emitted = run.on_llm_new_token("a").await;
    assert!(matches!(emitted, Err(EmitError::RuntimeGone(_))), "{emitted:?}");
    drop(run);
    callbacks.flush().await;
    assert_eq!(
        *gone.lock().unwrap_or_else(PoisonError::into_inner),
        4,
        "a token and an end, for each handler"
    );
    for log in [log, log_async] {
        assert_eq!(*log.lines(), ["run: on_llm_start"]);
    }
}
