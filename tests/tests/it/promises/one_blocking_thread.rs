//! At the edge: a pool of one thread. Lanes share it, a handler that emits does not keep it from those who have to handle that, and jobs of the
//! application's own get their turn.

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_lite::future::block_on;
use rappel_core::BlockingExecutor;
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
    for flavour in Flavour::ALL {
        flavour.run_on_one_blocking_thread(all_see_everything);
        flavour.run_on_one_blocking_thread(a_handler_emits_to_others);
        flavour.run_on_one_blocking_thread(own_jobs_get_their_turn);
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
