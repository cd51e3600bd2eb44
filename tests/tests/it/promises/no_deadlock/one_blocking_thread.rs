//! A pool of one blocking thread. Lanes share it, a handler that emits does not keep it from the
//! handlers of what it emits, and jobs of the application's own get their turn.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use futures_channel::oneshot;
use futures_util::StreamExt;
use futures_util::future::join_all;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, SpawnError, Spawner, Timer};
use rappel_tests::runtimes::Flavour;

use super::*;

/// smol and async-std read it once in a process.
const LIMIT: &str = "BLOCKING_MAX_THREADS";

#[test]
fn one_blocking_thread_is_enough_on_every_runtime() {
    if std::env::var(LIMIT).as_deref() != Ok("1") {
        let name = "promises::no_deadlock::one_blocking_thread::\
            one_blocking_thread_is_enough_on_every_runtime";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(LIMIT, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        return assert!(stdout.contains("1 passed"), "{output:?}");
    }
    for flavour in Flavour::ALL.map(Flavour::with_blocking_threads) {
        flavour.run_on_one_blocking_thread(all_handlers_see_everything);
        flavour.run_on_one_blocking_thread(a_handler_may_emit_to_others);
        flavour.run_on_one_blocking_thread(a_handler_may_emit_behind_many_queued_events);
        flavour.run_on_one_blocking_thread(a_handler_may_emit_on_a_run_whose_event_waits);
        flavour.run_on_one_blocking_thread(a_handler_may_emit_while_another_lane_is_woken);
        flavour.run_on_one_blocking_thread(jobs_of_the_application_get_their_turn);
    }
}

async fn all_handlers_see_everything(rt: Rt) {
    let watched = Watched::new(&rt);
    let run = |run| rt.go(streamed(watched.callbacks.clone(), format!("run {run}"), 20));
    join_all((0..20).map(run)).await.into_iter().for_each(Result::unwrap);
    watched.callbacks.flush().await.unwrap();
    for run in 0..20 {
        for (name, seen) in watched.of(&format!("run {run}")) {
            assert_eq!(seen, whole(20), "{name} on {:?}", rt.flavour());
        }
    }
}

/// It emits while it has the only thread, which the others need for what it emits.
async fn a_handler_may_emit_to_others(rt: Rt) {
    let own = Own::default();
    let (awaited, narrow) = (Log::new(), Log::new());
    let emits = own.clone();
    let handler = handler_fn(move |event, cx| {
        if matches!(event, Event::LlmEnd(_)) && cx.name() == "outer" {
            block_on(streamed(emits.get()?.clone(), "inner".into(), 10))?;
        }
        Ok(())
    });
    let (callbacks, failures) = reporting(rt.callbacks());
    let callbacks = callbacks
        .with_handler(handler)
        .with_handler(sync(awaited.clone()))
        .with_handler_options(sync(narrow.clone()), Pipelined::new(1));
    own.set(&callbacks);
    streamed(callbacks.clone(), "outer".into(), 3).await.unwrap();
    settled(&callbacks).await;
    assert_eq!(causes(&failures), NO_FAILURES);
    for log in [awaited, narrow] {
        assert_eq!(of(&log, "outer").len(), 5);
        let inner = of(&log, "inner");
        let tokens = inner.iter().filter_map(|line| line.strip_prefix("inner: token: "));
        assert_eq!(tokens.collect::<String>(), "0 1 2 3 4 5 6 7 8 9 ");
        assert_eq!(inner.first().unwrap(), "inner: llm_start: prompt");
        assert_eq!(inner.last().unwrap(), "inner: llm_end: all");
    }
}

/// A handler whose call for a text goes on, on the only thread, and what it does there once it is
/// told to.
struct InACall {
    go: mpsc::Sender<()>,
    text: BoxFuture<'static, ()>,
}

impl InACall {
    /// `inside`: what the handler does. Its call has begun when this is ready.
    async fn new(rt: &Rt, mut inside: impl FnMut() + Send + 'static) -> Self {
        let (begins, mut has_begun) = futures_channel::mpsc::unbounded();
        let (go, goes) = mpsc::channel();
        let handler = handler_fn(move |event, _| {
            if matches!(event, Event::Text(_)) {
                begins.unbounded_send(())?;
                goes.recv()?;
                inside();
            }
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks().with_handler(handler));
        let mut run = chain(&callbacks, "outer").await;
        let text = rt.go(async move {
            run.on_text("go").await.unwrap();
            run.end(json!(1)).await.unwrap();
            assert_eq!(causes(&failures), NO_FAILURES);
        });
        has_begun.next().await.unwrap();
        Self { go, text: Box::pin(text) }
    }

    async fn go_on(self) {
        self.go.send(()).unwrap();
        self.text.await;
    }
}

/// Six hundred traces wait for the handler that gets what is emitted.
async fn a_handler_may_emit_behind_many_queued_events(rt: Rt) {
    const MANY: usize = 600;
    let log = Log::new();
    let callbacks = rt.callbacks().with_handler_options(log.handler(), Pipelined::new(1));
    let own = callbacks.clone();
    let in_a_call = InACall::new(&rt, move || {
        emit_run(&own, "inner", "inside", How::BlockOn).unwrap();
    })
    .await;
    let mut runs = Vec::new();
    for _ in 0..MANY {
        runs.push(chain(&callbacks, "one of many").await);
    }
    in_a_call.go_on().await;
    for run in runs {
        run.end(json!(1)).await.unwrap();
    }
    settled(&callbacks).await;
    assert_eq!(log.lines().len(), 2 * MANY + 3);
}

/// The run's event before that waits for the only thread.
async fn a_handler_may_emit_on_a_run_whose_event_waits(rt: Rt) {
    let log = Log::new();
    let callbacks = rt.callbacks().with_handler(log.handler());
    let shared = Arc::new(futures_util::lock::Mutex::new(chain(&callbacks, "shared").await));
    let own = shared.clone();
    let in_a_call = InACall::new(&rt, move || {
        block_on(async { own.lock().await.on_text("second").await }).unwrap();
    })
    .await;
    {
        let mut run = shared.lock().await;
        let mut first = run.on_text("first");
        // An emitter may yield once before its event is accepted.
        assert!(poll_once(&mut first).await.is_none());
        assert!(poll_once(&mut first).await.is_none());
    }
    in_a_call.go_on().await;
    settled(&callbacks).await;
    assert_eq!(log.lines(), ["chain_start: 0", "text: first", "text: second"]);
}

/// Another task has the same handler called, and is held up by the runtime on the way.
async fn a_handler_may_emit_while_another_lane_is_woken(rt: Rt) {
    let held_up = HeldUp { rt: rt.clone(), next: Arc::default() };
    let log = Log::new();
    let both = CallbackManager::new(held_up.clone())
        .with_handler(handler_fn(|_, _| Ok(())))
        .with_handler(log.handler());
    let own = both.clone();
    let in_a_call = InACall::new(&rt, move || {
        let emit = own.on_custom_event(CustomEvent::new("inside", json!(0)));
        assert!(block_on(poll_once(emit)).is_some(), "it is queued, and not waited for");
    })
    .await;
    let (goes_on, comes) = held_up.hold_up_the_next();
    let start = std::thread::spawn({
        let both = both.clone();
        move || block_on(chain(&both, "beside"))
    });
    comes.recv().unwrap();
    in_a_call.go_on().await;
    goes_on.send(()).unwrap();
    let run = start.join().unwrap();
    run.end(json!(1)).await.unwrap();
    settled(&both).await;
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(lines, ["chain_end: 1", "chain_start: 0", "custom_event: inside"]);
}

/// Keeps the next blocking job from its runtime until it may go on.
#[derive(Clone)]
struct HeldUp {
    rt: Rt,
    next: Arc<Mutex<Option<Meeting>>>,
}

/// Tells that a job has come, and keeps it waiting.
type Meeting = (mpsc::Sender<()>, mpsc::Receiver<()>);

impl HeldUp {
    /// What lets the job go on, and what tells that it has come.
    fn hold_up_the_next(&self) -> (mpsc::Sender<()>, mpsc::Receiver<()>) {
        let (comes, has_come) = mpsc::channel();
        let (goes_on, may_go_on) = mpsc::channel();
        *self.next.lock().unwrap() = Some((comes, may_go_on));
        (goes_on, has_come)
    }
}

impl Spawner for HeldUp {
    fn spawn_boxed(&self, task: BoxFuture<'static, ()>) -> Result<(), SpawnError> {
        self.rt.spawn_boxed(task)
    }
}

impl BlockingExecutor for HeldUp {
    fn spawn_blocking_boxed(&self, job: BoxJob) -> Result<(), SpawnError> {
        let held_up = self.next.lock().unwrap().take();
        if let Some((comes, may_go_on)) = held_up {
            comes.send(()).unwrap();
            may_go_on.recv().unwrap();
        }
        self.rt.spawn_blocking_boxed(job)
    }
}

impl Timer for HeldUp {
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.rt.sleep(duration)
    }

    fn now(&self) -> Duration {
        self.rt.now()
    }
}

/// While handlers are called without a pause.
async fn jobs_of_the_application_get_their_turn(rt: Rt) {
    let log = Log::new();
    let callbacks = rt.callbacks().with_handler(sync(log.clone()));
    let done = Arc::new(AtomicBool::new(false));
    let emitters = ["one", "two"].map(|name| {
        let (callbacks, done) = (callbacks.clone(), done.clone());
        rt.go(async move {
            let mut run = model(&callbacks, name).await;
            while !done.load(Ordering::Acquire) {
                run.on_llm_new_token("more").await.unwrap();
            }
            run.end("end").await.unwrap();
        })
    });
    for _ in 0..3 {
        let (turn, comes) = oneshot::channel();
        let job = move || turn.send(()).unwrap_or_default();
        rt.spawn_blocking_boxed(Box::new(job)).unwrap();
        comes.await.unwrap();
    }
    done.store(true, Ordering::Release);
    join_all(emitters).await;
}
