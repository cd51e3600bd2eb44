//! At the edge: a pool of one thread. Lanes share it, a handler that emits does not keep it from those who have to handle that, and jobs of the
//! application's own get their turn.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use futures_lite::future::{block_on, poll_once};
use futures_util::StreamExt;
use rappel_core::runtime::{BoxFuture, BoxJob};
use rappel_core::{BlockingExecutor, CustomEvent, SpawnError, Spawner};
use rappel_tests::runtimes::Flavour;

use super::*;

/// smol and async-std read it once in a process.
const LIMIT: &str = "BLOCKING_MAX_THREADS";

#[test]
fn is_enough() {
    if std::env::var(LIMIT).as_deref() != Ok("1") {
        let this = ["--exact", "promises::one_blocking_thread::is_enough", "--nocapture"];
        let output = Command::new(std::env::current_exe().unwrap())
            .args(this)
            .env(LIMIT, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        return assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    }
    for flavour in Flavour::ALL.map(Flavour::with_blocking_threads) {
        flavour.run_on_one_blocking_thread(all_see_everything);
        flavour.run_on_one_blocking_thread(a_handler_emits_to_others);
        flavour.run_on_one_blocking_thread(behind_more_than_one_helps_with_at_a_time);
        flavour.run_on_one_blocking_thread(behind_what_somebody_else_emits);
        flavour.run_on_one_blocking_thread(beside_somebody_who_calls_for_others);
        flavour.run_on_one_blocking_thread(own_jobs_get_their_turn);
        flavour.run_on_one_blocking_thread(code_that_blocks_it_is_served);
    }
}

async fn all_see_everything(rt: Rt) {
    let watched = Watched::new(&rt);
    let runs = (0..20).map(|run| rt.go(streamed(watched.callbacks.clone(), format!("run {run}"), 20)));
    futures_util::future::join_all(runs).await.into_iter().for_each(Result::unwrap);
    watched.callbacks.flush().await;
    for run in 0..20 {
        for (name, seen) in watched.of(&format!("run {run}")) {
            assert_eq!(seen, whole(20), "{name} on {:?}", rt.flavour());
        }
    }
}

/// It blocks the only thread until the others have handled what it emits.
async fn a_handler_emits_to_others(rt: Rt) {
    let own = Arc::new(OnceLock::<CallbackManager>::new());
    let (awaited, narrow) = (Log::new(), Log::new());
    let emits = own.clone();
    let handler = handler_fn(move |event, run| {
        if matches!(event, Event::LlmEnd(_)) && run.name() == "outer" {
            let callbacks = emits.get().ok_or_else(|| HandlerError::new("not yet"))?;
            block_on(streamed(callbacks.clone(), "inner".into(), 10))?;
        }
        Ok(())
    });
    let (callbacks, failures) = reporting(rt.callbacks());
    let callbacks = callbacks
        .with_handler(handler)
        .with_handler(sync(awaited.clone()))
        .with_handler_options(sync(narrow.clone()), HandlerOptions::new().delivery(Pipelined { capacity: 1 }));
    own.set(callbacks.clone()).unwrap();
    streamed(callbacks.clone(), "outer".into(), 3).await.unwrap();
    assert_eq!(causes(&failures), Vec::<String>::new());
    for log in [awaited, narrow] {
        let of = |run: &str| log.lines().iter().filter(|line| line.starts_with(run)).count();
        assert_eq!((of("outer"), of("inner")), (5, 12));
    }
}

/// A handler whose call for a text goes on, on the only thread, and what it does there once it is told to.
struct InACall {
    go: mpsc::Sender<()>,
    text: BoxFuture<'static, ()>,
}

impl InACall {
    /// `inside`: what the handler does; its call has begun when this is ready.
    async fn new(rt: &Rt, mut inside: impl FnMut() + Send + 'static) -> Self {
        let (begins, mut has_begun) = futures_channel::mpsc::unbounded();
        let (go, goes) = mpsc::channel();
        let handler = handler_fn(move |event, _| {
            if matches!(event, Event::Text(_)) {
                begins.unbounded_send(()).map_err(HandlerError::new)?;
                goes.recv().map_err(HandlerError::new)?;
                inside();
            }
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks().with_handler(handler));
        let run = chain(&callbacks, "outer").await;
        let text = rt.go(async move {
            run.on_text("go").await.unwrap();
            run.end(json!(1)).await.unwrap();
            assert_eq!(causes(&failures), Vec::<String>::new());
        });
        has_begun.next().await.unwrap();
        Self { go, text: Box::pin(text) }
    }

    async fn go_on(self) {
        self.go.send(()).unwrap();
        self.text.await;
    }
}

/// What has to be handled first takes longer than a helper stays with it at a time.
async fn behind_more_than_one_helps_with_at_a_time(rt: Rt) {
    const MANY: usize = 600;
    let log = Log::new();
    let callbacks = rt
        .callbacks()
        .with_handler_options(log.handler(), HandlerOptions::new().delivery(Pipelined { capacity: 1 }));
    let own = callbacks.clone();
    let in_a_call = InACall::new(&rt, move || {
        block_on(async {
            let run = chain(&own, "inner").await;
            run.end(json!("inner")).await.unwrap();
        });
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
    assert_eq!(log.lines().len(), 2 * (MANY + 1));
}

/// Its run handles an event of another task's first, which waits for a thread.
async fn behind_what_somebody_else_emits(rt: Rt) {
    let log = Log::new();
    let callbacks = rt.callbacks().with_handler(log.handler());
    let shared = Arc::new(chain(&callbacks, "shared").await);
    let own = shared.clone();
    let in_a_call = InACall::new(&rt, move || block_on(own.on_text("second")).unwrap()).await;
    let mut first = shared.on_text("first");
    assert!(poll_once(&mut first).await.is_none());
    in_a_call.go_on().await;
    first.await.unwrap();
    assert_eq!(log.lines(), ["chain_start: 0", "text: first", "text: second"]);
}

/// Another task has the same handler called for, and is held up by the runtime on the way.
async fn beside_somebody_who_calls_for_others(rt: Rt) {
    let held_up = HeldUp {
        rt: rt.clone(),
        next: Arc::default(),
    };
    let log = Log::new();
    let one_at_a_time = || HandlerOptions::new().open_runs(5);
    let both = CallbackManager::new(held_up.clone())
        .erase()
        .with_handler_options(handler_fn(|_, _| Ok(())), one_at_a_time())
        .with_handler_options(log.handler(), one_at_a_time());
    let own = both.clone();
    let in_a_call = InACall::new(&rt, move || {
        let emit = own.on_custom_event(CustomEvent::new("inside", json!(0)));
        assert!(block_on(poll_once(emit)).is_some(), "nobody else can have it handled");
    })
    .await;
    let (goes_on, comes) = held_up.hold_up_the_next();
    let start = std::thread::spawn(move || block_on(chain(&both, "beside")));
    comes.recv().unwrap();
    in_a_call.go_on().await;
    goes_on.send(()).unwrap();
    let run = start.join().unwrap();
    run.end(json!(1)).await.unwrap();
    assert_eq!(log.lines(), ["chain_start: 0", "custom_event: inside", "chain_end: 1"]);
}

/// Tells that somebody has come, and keeps him waiting.
type Meeting = (mpsc::Sender<()>, mpsc::Receiver<()>);

/// Keeps whoever gives it a job waiting, once.
#[derive(Clone)]
struct HeldUp {
    rt: Rt,
    next: Arc<Mutex<Option<Meeting>>>,
}

impl HeldUp {
    /// What lets him go on, and tells that he has come.
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

/// While handlers are called without a pause.
async fn own_jobs_get_their_turn(rt: Rt) {
    let log = Log::new();
    let callbacks = rt.callbacks().with_handler(sync(log.clone()));
    let done = Arc::new(AtomicBool::new(false));
    let emitters = [0, 1].map(|number| {
        let (callbacks, done) = (callbacks.clone(), done.clone());
        rt.go(async move {
            let run = callbacks
                .on_llm_start(LlmStart::new(format!("run {number}"), "prompt"))
                .await
                .unwrap();
            while !done.load(Ordering::Acquire) {
                run.on_llm_new_token("more").await.unwrap();
            }
            run.end(LlmResult::new()).await.unwrap();
        })
    });
    for _ in 0..3 {
        let (turn, comes) = futures_channel::oneshot::channel();
        rt.spawn_blocking_boxed(Box::new(move || turn.send(()).unwrap_or_default()))
            .unwrap();
        comes.await.unwrap();
    }
    done.store(true, Ordering::Release);
    futures_util::future::join_all(emitters).await;
}

/// A job that waits for handlers of all sorts keeps the only thread that those could be called on.
async fn code_that_blocks_it_is_served(rt: Rt) {
    let log = Log::new();
    let options = HandlerOptions::new;
    let callbacks = CallbackManager::new(rt.clone())
        .with_handler(log.handler())
        .with_handler_options(log.handler(), options().timeout(Duration::from_secs(600)))
        .with_handler_options(log.handler(), options().delivery(Pipelined { capacity: 1 }));
    for callbacks in [callbacks.clone(), callbacks.with_async_handler(log.async_handler())] {
        let (done, told) = futures_channel::oneshot::channel();
        let (before, handlers) = (log.lines().len(), callbacks.stats().len());
        let job = move || {
            let callbacks = callbacks.blocking();
            let run = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).unwrap();
            run.on_llm_new_token("a").unwrap();
            run.on_llm_new_token("b").unwrap();
            run.end(LlmResult::from_text("ab")).unwrap();
            let _ = done.send(());
        };
        rt.spawn_blocking_boxed(Box::new(job)).unwrap();
        told.await.unwrap();
        assert_eq!(log.lines().len() - before, 4 * handlers, "{:?}", rt.flavour());
    }
}
