//! 6. Every started run ends: dropped at any point, the handlers get exactly one error, `Cancelled`, with the partial result; an end that was accepted
//!    is delivered as an end.
//!
//! The sweep: each public future is dropped, or leaked, after k polls, for every k until it is through; on handlers of every delivery.

use std::pin::{Pin, pin};

use futures_lite::future::{poll_once, yield_now};
use futures_util::{StreamExt, stream};
use rappel_core::Document;
use rappel_tests::on_every_runtime;

use super::*;

/// One of the public futures, on a manager; the name that its run has is "run".
type Make = fn(CallbackManager) -> Pin<Box<dyn Future<Output = ()> + Send>>;

const FUTURES: [(&str, Make); 8] = [
    ("a whole run", |callbacks| {
        Box::pin(async move { streamed(callbacks, "run".into(), 2).await.unwrap() })
    }),
    ("a start", |callbacks| {
        Box::pin(async move {
            let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
            // Given up once it is through.
            drop(run);
        })
    }),
    ("a batch of starts", |callbacks| {
        Box::pin(async move {
            drop(callbacks.on_llm_starts([LlmStart::new("run", "prompt")]).await);
        })
    }),
    ("a stream", |callbacks| {
        Box::pin(async move {
            let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
            let tokens = stream::iter(["0 ", "1 "]).map(Ok::<_, std::io::Error>);
            let mut tokens = tokens.with_callbacks(run);
            while tokens.next().await.is_some() {}
        })
    }),
    ("a chain", |callbacks| {
        Box::pin(async move {
            let chain = async {
                yield_now().await;
                Ok::<_, RunError>(1)
            };
            chain.in_chain(&callbacks, "run", 0).await.unwrap();
        })
    }),
    ("a tool", |callbacks| {
        Box::pin(async move {
            let tool = async { Err::<i32, _>(RunError::failed("broken")) };
            let _ = tool.in_tool(&callbacks, "run", "input").await;
        })
    }),
    ("a retriever", |callbacks| {
        Box::pin(async move {
            let retriever = async { Ok::<_, RunError>(vec![Document::new("page")]) };
            retriever.in_retriever(&callbacks, "run", "query").await.unwrap();
        })
    }),
    ("an error", |callbacks| {
        Box::pin(async move {
            let run = callbacks.on_chain_start(ChainStart::new("run", json!(0))).await.unwrap();
            run.error("broken").await.unwrap();
        })
    }),
];

/// Polls it so often; whether it is through.
async fn poll_times(mut future: Pin<&mut (dyn Future<Output = ()> + Send)>, polls: usize) -> bool {
    for _ in 0..polls {
        if poll_once(&mut future).await.is_some() {
            return true;
        }
        yield_now().await;
    }
    false
}

/// A start first, exactly one end last, the tokens in order between them, and the same for all.
fn check(watched: &Watched, what: &str) {
    let all = watched.of("run");
    let (_, first) = &all[0];
    for (handler, lines) in &all {
        assert_eq!(lines, first, "{handler} of {what}");
    }
    let Some((start, rest)) = first.split_first() else { return };
    assert!(start.contains("_start: "), "{what}: {first:?}");
    let (end, between) = rest.split_last().unwrap_or_else(|| panic!("{what} has no end: {first:?}"));
    assert!(end.contains("_end: ") || end.contains("_error: "), "{what}: {first:?}");
    let tokens: Vec<String> = (0..between.len()).map(|number| format!("token: {number} ")).collect();
    assert_eq!(between, tokens, "{what}");
    if let Some(partial) = end.strip_prefix("llm_error: cancelled: ") {
        assert_eq!(
            partial,
            tokens.iter().map(|token| &token["token: ".len()..]).collect::<String>(),
            "{what}"
        );
    }
}

on_every_runtime! {
    async fn dropped_at_any_poll(rt) {
        for (name, make) in FUTURES {
            for polls in 0.. {
                let watched = Watched::new(&rt);
                let through = {
                    let mut future = make(watched.callbacks.clone());
                    poll_times(future.as_mut(), polls).await
                };
                watched.callbacks.flush().await;
                check(&watched, &format!("{name}, dropped after {polls} polls"));
                if through {
                    break;
                }
            }
        }
    }

    /// A future that is leaked keeps its run open for ever; but what it has emitted is handled, in order, and nobody else waits for it.
    async fn leaked_at_any_poll(rt) {
        for (name, make) in FUTURES {
            for polls in 0.. {
                let watched = Watched::new(&rt);
                let mut future = make(watched.callbacks.clone());
                let through = poll_times(future.as_mut(), polls).await;
                std::mem::forget(future);
                streamed(watched.callbacks.clone(), "stranger".into(), 2).await.unwrap();
                for (handler, lines) in watched.of("run") {
                    let ends = lines.iter().filter(|line| line.contains("_end: ") || line.contains("_error: ")).count();
                    assert!(ends <= 1, "{handler} of {name}, leaked after {polls} polls: {lines:?}");
                    assert!(lines.first().is_none_or(|line| line.contains("_start: ")), "{handler} of {name}: {lines:?}");
                }
                if through {
                    break;
                }
            }
        }
    }

    /// Emits and ends of a run, dropped or leaked, after k polls.
    async fn an_emit_or_an_end_at_any_poll(rt) {
        for leaked in [false, true] {
            for polls in 0..30 {
                let watched = Watched::new(&rt);
                let run = watched.callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
                {
                    let mut emit = run.on_llm_new_token("0 ");
                    poll_times(pin!(async { let _ = (&mut emit).await; }), polls).await;
                    if leaked {
                        std::mem::forget(emit);
                    }
                }
                let (lines, result) = (usize::from(polls > 0), LlmResult::from_text("all"));
                {
                    let mut end = Box::pin(run.end(result));
                    poll_times(pin!(async { let _ = (&mut end).await; }), polls).await;
                }
                watched.callbacks.flush().await;
                for (handler, seen) in watched.of("run") {
                    assert_eq!(seen.iter().filter(|line| line.starts_with("token")).count(), lines, "{handler} after {polls}: {seen:?}");
                }
                check(&watched, &format!("an emit after {polls} polls"));
            }
        }
    }

    /// Given up while handlers are still at it, in every delivery.
    async fn a_run_that_is_dropped_with_much_in_its_mailboxes(rt) {
        let watched = Watched::new(&rt);
        let run = watched.callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
        for number in 0..30 {
            run.on_llm_new_token(format!("{number} ")).await.unwrap();
        }
        drop(run);
        watched.callbacks.flush().await;
        let text: String = (0..30).map(|number| format!("{number} ")).collect();
        for (handler, lines) in watched.of("run") {
            assert_eq!(lines.len(), 32, "{handler}");
            assert_eq!(lines[31], format!("llm_error: cancelled: {text}"), "{handler}");
        }
    }
}
