//! One load on one runtime, from the creation of the manager to its shutdown, and the checks after
//! it.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_channel::mpsc;
use futures_util::StreamExt;
use rappel_core::{
    BlockingExecutor, CallbackManager, EmitError, FailureCause, HandlerFailure, HandlerStats,
    LlmResult, LlmStart, ShutdownReport, Spawner, Timer,
};

use crate::handlers::{SYNC_HANDLERS, failures, register};
use crate::load::{Load, Size, Track};
use crate::stall::Watch;

/// The deadline of the shutdown. All runs have ended by then.
const DEADLINE: Duration = Duration::from_secs(10);

/// The outcome of a load.
pub(crate) struct Outcome {
    /// Calls of all handlers.
    pub(crate) events: usize,
    pub(crate) took: Duration,
    /// A sync handler's longest row of calls for one run while another run was open.
    pub(crate) streak: usize,
    /// The most events of one run that waited for a handler.
    pub(crate) queue: usize,
    /// The share of the sync handlers' calls that began while another run waited, in per cent.
    pub(crate) contended: usize,
    pub(crate) problems: Vec<String>,
}

/// Emits all runs concurrently, and checks what the handlers got.
pub(crate) async fn drive<R: Spawner + BlockingExecutor + Timer>(
    runtime: R,
    size: Size,
) -> Outcome {
    let load = Load::new(size);
    let runtime = Arc::new(runtime);
    let reported = Arc::new(AtomicUsize::new(0));
    let callbacks =
        CallbackManager::new(runtime.clone()).on_handler_failure(reporter(&load, &reported));
    let (callbacks, tracks) = register(callbacks, runtime.clone(), &load);
    let watch = Watch::start(&load, &tracks);

    let began = Instant::now();
    emit_all(&*runtime, &callbacks, &load).await;
    if let Err(error) = callbacks.flush().await {
        load.problem(format!("the flush returned: {error}"));
    }
    let took = began.elapsed();
    let stats = callbacks.stats();
    tracks.iter().for_each(|track| track.check_complete());
    check_stats(&load, "after the flush", &stats);

    match callbacks.shutdown(DEADLINE).await {
        Ok(report) => {
            check_report(&load, &report);
            check_shut_down(&load, &callbacks).await;
            check_nothing_more(&load, &callbacks, &report, &tracks);
            check_reported(&load, &report, reported.load(Ordering::Acquire));
        }
        Err(error) => load.problem(format!("the shutdown returned: {error}")),
    }
    drop(watch);
    outcome(&load, &stats, &tracks, took)
}

/// Counts the failures that are meant to be. Any other failure is a problem.
fn reporter(
    load: &Arc<Load>,
    reported: &Arc<AtomicUsize>,
) -> impl Fn(&HandlerFailure) + Send + Sync + 'static {
    let (load, reported) = (load.clone(), reported.clone());
    move |failure| {
        reported.fetch_add(1, Ordering::AcqRel);
        let meant = failures(&failure.handler, load.size) > 0
            && matches!(failure.cause, FailureCause::Error(_));
        load.expect(meant, || format!("run id {}: {failure}", failure.run_id));
    }
}

/// Emits all runs, each in its own task.
async fn emit_all(runtime: &impl Spawner, callbacks: &CallbackManager, load: &Arc<Load>) {
    // Each task has a sender, which is dropped when the task ends, in whatever way.
    let (alive, mut all_over) = mpsc::channel::<()>(0);
    for run in 0..load.size.runs {
        let (emitting, alive) = (emit_run(callbacks.clone(), load.clone(), run), alive.clone());
        let task = async move {
            emitting.await;
            drop(alive);
        };
        if let Err(error) = runtime.spawn_boxed(Box::pin(task)) {
            load.problem(format!("run {run} was not spawned: {error}"));
        }
    }
    drop(alive);
    while all_over.next().await.is_some() {}
}

async fn emit_run(callbacks: CallbackManager, load: Arc<Load>, run: usize) {
    load.open.fetch_add(1, Ordering::AcqRel);
    if let Err(error) = try_emit_run(&callbacks, &load, run).await {
        load.problem(format!("run {run}: its emitter got: {error}"));
    }
    load.open.fetch_sub(1, Ordering::AcqRel);
}

async fn try_emit_run(
    callbacks: &CallbackManager,
    load: &Load,
    run: usize,
) -> Result<(), EmitError> {
    let start = counted(load, run, callbacks.on_llm_start(LlmStart::new(run.to_string(), "count")));
    let mut llm = start.await?;
    for token in 0..load.size.tokens {
        counted(load, run, llm.on_llm_new_token(token.to_string())).await?;
    }
    counted(load, run, llm.end(LlmResult::from_text("counted"))).await
}

/// Counts an event as begun before its first poll, in which it is accepted, and as queued after
/// that.
async fn counted<F: Future>(load: &Load, run: usize, emission: F) -> F::Output {
    load.begun[run].fetch_add(1, Ordering::AcqRel);
    let mut emission = pin!(emission);
    let mut queued = false;
    poll_fn(|cx| {
        let poll = emission.as_mut().poll(cx);
        if !std::mem::replace(&mut queued, true) {
            load.queued.fetch_add(1, Ordering::AcqRel);
        }
        poll
    })
    .await
}

/// Checks that the numbers of each handler add up. Each is interested in all events and loses none.
fn check_stats(load: &Load, when: &str, stats: &[HandlerStats]) {
    let all = load.size.runs * load.size.events();
    for stats in stats {
        let expect = |what: &str, is: usize, due: usize| {
            load.expect(is == due, || {
                format!("{when}, handler `{}`: {what} is {is} instead of {due}", stats.name)
            });
        };
        let failed = failures(&stats.name, load.size);
        expect("failed", stats.failed, failed);
        expect("handled", stats.handled, all - failed);
        expect("dropped", stats.dropped, 0);
        expect("coalesced", stats.coalesced, 0);
        expect("refused_runs", stats.refused_runs, 0);
        expect("pending", stats.pending, 0);
        expect("open_runs", stats.open_runs, 0);
    }
}

fn check_report(load: &Load, report: &ShutdownReport) {
    check_stats(load, "after the shutdown", &report.handlers);
    load.expect(report.closed_runs == 0, || {
        format!("the shutdown closed {} runs", report.closed_runs)
    });
    let failed = report.handlers.iter().any(|stats| stats.failed > 0);
    load.expect(report.is_clean() != failed, || {
        "the report is clean in spite of failures".to_owned()
    });
    let mut forgiven = report.clone();
    forgiven.handlers.iter_mut().for_each(|stats| stats.failed = 0);
    load.expect(forgiven.is_clean(), || {
        format!("the report is not clean, failures apart: {report:?}")
    });
}

/// Checks that each failure was reported once.
fn check_reported(load: &Load, report: &ShutdownReport, reported: usize) {
    let failed: usize = report.handlers.iter().map(|stats| stats.failed).sum();
    load.expect(reported == failed, || {
        format!("{reported} failures were reported, and {failed} counted")
    });
}

/// After a shutdown nothing is emitted any more.
async fn check_shut_down(load: &Load, callbacks: &CallbackManager) {
    let start = callbacks.on_llm_start(LlmStart::new("late", "count"));
    let (mut run, started) = start.keep().await;
    check_refused(load, "start", started);
    check_refused(load, "token", run.on_llm_new_token("0").await);
    check_refused(load, "end", run.end(LlmResult::new()).await);
}

fn check_refused(load: &Load, what: &str, answer: Result<(), EmitError>) {
    let got = match &answer {
        Ok(()) => &"nothing" as &dyn Display,
        Err(error) => error,
    };
    let refused = match answer {
        Err(EmitError::ShutDown) => true,
        // The run of a refused start is closed.
        Err(EmitError::RunClosed) => what != "start",
        _ => false,
    };
    load.expect(refused, || format!("the emitter of a {what} after the shutdown got: {got}"));
}

/// Checks that no handler was called after the flush.
fn check_nothing_more(
    load: &Load,
    callbacks: &CallbackManager,
    report: &ShutdownReport,
    tracks: &[Arc<Track>],
) {
    load.expect(callbacks.stats() == report.handlers, || {
        "the numbers changed after the shutdown".to_owned()
    });
    load.expect(report.handlers.len() == tracks.len(), || {
        format!("{} handlers are in the report", report.handlers.len())
    });
    let all = load.size.runs * load.size.events();
    for track in tracks {
        let calls = track.calls();
        load.expect(calls == all, || {
            format!("handler `{}` was called {calls} times instead of {all}", track.name)
        });
    }
}

fn outcome(load: &Load, stats: &[HandlerStats], tracks: &[Arc<Track>], took: Duration) -> Outcome {
    let most = |of: fn(&Track) -> &AtomicUsize| {
        let figures = tracks.iter().map(|track| of(track).load(Ordering::Acquire));
        figures.max().unwrap_or(0)
    };
    let contended: usize = tracks.iter().map(|track| track.contended.load(Ordering::Acquire)).sum();
    let sync_calls = SYNC_HANDLERS * load.size.runs * load.size.events();
    Outcome {
        events: stats.iter().map(|stats| stats.handled + stats.failed).sum(),
        took,
        streak: most(|track| &track.streak),
        queue: most(|track| &track.queue),
        contended: contended * 100 / sync_calls.max(1),
        problems: load.problems(),
    }
}
