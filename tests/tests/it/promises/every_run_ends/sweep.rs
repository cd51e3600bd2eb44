//! The sweep: each public future is dropped, or leaked, after k polls, for every k until it is
//! ready, with a handler of every delivery. The handlers get exactly one error, `Cancelled`, with
//! the partial result.

use std::pin::{Pin, pin};

use futures_util::{StreamExt, stream};

use super::*;

type BoxedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One of the public futures, on a manager. Its run has the name "run".
type Make = fn(CallbackManager) -> BoxedFuture;

const FUTURES: [(&str, Make); 9] = [
    ("a whole run", |callbacks| {
        Box::pin(async move { streamed(callbacks, "run".into(), 2).await.unwrap() })
    }),
    ("a start", |callbacks| {
        Box::pin(async move {
            // Given up once it is ready.
            drop(model(&callbacks, "run").await);
        })
    }),
    ("a start that is kept", |callbacks| {
        Box::pin(async move {
            let start = callbacks.on_llm_start(LlmStart::new("run", "prompt"));
            drop(start.keep().await);
        })
    }),
    ("a batch of starts", |callbacks| {
        Box::pin(async move {
            drop(callbacks.on_llm_starts([LlmStart::new("run", "prompt")]).await);
        })
    }),
    ("a stream", |callbacks| {
        Box::pin(async move {
            let run = model(&callbacks, "run").await;
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
            chain(&callbacks, "run").await.fail("broken").await.unwrap();
        })
    }),
];

/// Polls it so often. Returns whether it is ready.
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
    let (end, between) =
        rest.split_last().unwrap_or_else(|| panic!("{what} has no end: {first:?}"));
    assert!(end.contains("_end: ") || end.contains("_error: "), "{what}: {first:?}");
    let tokens: Vec<String> =
        (0..between.len()).map(|number| format!("token: {number} ")).collect();
    assert_eq!(between, tokens, "{what}");
    if let Some(partial) = end.strip_prefix("llm_error: cancelled: ") {
        let text: String = tokens.iter().map(|token| &token["token: ".len()..]).collect();
        assert_eq!(partial, text, "{what}");
    }
}

on_every_runtime! {
    async fn a_future_that_is_dropped_at_any_poll_ends_its_run(rt) {
        for (name, make) in FUTURES {
            for polls in 0.. {
                let watched = Watched::new(&rt);
                let ready = {
                    let mut future = make(watched.callbacks.clone());
                    poll_times(future.as_mut(), polls).await
                };
                watched.callbacks.flush().await.unwrap();
                check(&watched, &format!("{name}, dropped after {polls} polls"));
                if ready {
                    break;
                }
            }
        }
    }

    /// A future that is leaked keeps its run open for ever. What it has emitted is handled, in
    /// order, and no other run waits for it.
    async fn a_future_that_is_leaked_at_any_poll_holds_up_no_other_run(rt) {
        for (name, make) in FUTURES {
            for polls in 0.. {
                let watched = Watched::new(&rt);
                let mut future = make(watched.callbacks.clone());
                let ready = poll_times(future.as_mut(), polls).await;
                std::mem::forget(future);
                streamed(watched.callbacks.clone(), "stranger".into(), 2).await.unwrap();
                for (handler, lines) in watched.of("run") {
                    let what =
                        format!("{handler} of {name}, leaked after {polls} polls: {lines:?}");
                    let is_end =
                        |line: &&String| line.contains("_end: ") || line.contains("_error: ");
                    assert!(lines.iter().filter(is_end).count() <= 1, "{what}");
                    assert!(lines.first().is_none_or(|line| line.contains("_start: ")), "{what}");
                }
                if ready {
                    break;
                }
            }
        }
    }

    /// At its deadline, a shutdown ends the runs that were leaked.
    async fn a_shutdown_ends_the_run_of_a_future_that_is_leaked_at_any_poll(rt) {
        for (name, make) in FUTURES {
            for polls in 0.. {
                let watched = Watched::new(&rt);
                let mut future = make(watched.callbacks.clone());
                let ready = poll_times(future.as_mut(), polls).await;
                std::mem::forget(future);
                watched.callbacks.shutdown(Duration::ZERO).await.unwrap();
                watched.callbacks.flush().await.unwrap();
                check(&watched, &format!("{name}, leaked after {polls} polls"));
                if ready {
                    break;
                }
            }
        }
    }

    /// An emit is dropped or leaked after k polls, and an end dropped after as many.
    async fn an_emit_and_an_end_that_are_dropped_at_any_poll_end_the_run(rt) {
        for leaked in [false, true] {
            for polls in 0..30 {
                let watched = Watched::new(&rt);
                let mut run = model(&watched.callbacks, "run").await;
                {
                    let mut emit = run.on_llm_new_token("0 ");
                    let poll = pin!(async { let _ = (&mut emit).await; });
                    poll_times(poll, polls).await;
                    if leaked {
                        std::mem::forget(emit);
                    }
                }
                {
                    let mut end = Box::pin(run.end("all"));
                    let poll = pin!(async { let _ = (&mut end).await; });
                    poll_times(poll, polls).await;
                }
                watched.callbacks.flush().await.unwrap();
                let mut expected = vec!["llm_start: prompt", "token: 0 ", "llm_end: all"];
                if polls == 0 {
                    expected.remove(1);
                }
                for (handler, lines) in watched.of("run") {
                    assert_eq!(lines, expected, "{handler} after {polls} polls");
                }
            }
        }
    }

    /// A run is given up while its handlers are still busy, in every delivery.
    async fn a_run_that_is_dropped_with_many_queued_events_ends_after_them(rt) {
        let watched = Watched::new(&rt);
        let mut run = model(&watched.callbacks, "run").await;
        for number in 0..30 {
            run.on_llm_new_token(format!("{number} ")).await.unwrap();
        }
        drop(run);
        watched.callbacks.flush().await.unwrap();
        let text: String = (0..30).map(|number| format!("{number} ")).collect();
        for (handler, lines) in watched.of("run") {
            assert_eq!(lines.len(), 32, "{handler}");
            assert_eq!(lines[31], format!("llm_error: cancelled: {text}"), "{handler}");
        }
    }
}
