//! A queued handler sees a trace in the order in which its events were accepted: a local root run
//! and all runs under it.

use futures_util::future::join_all;
use rappel_tests::held::{held, held_async};
use rappel_tests::on_every_runtime;

use super::*;

/// Two siblings that emit in turn, and their parent between them.
async fn alternating(callbacks: &CallbackManager, rounds: usize) -> Vec<String> {
    let mut parent = chain(callbacks, "parent").await;
    let mut one = model(&parent.child(), "one").await;
    let mut two = model(&parent.child(), "two").await;
    let mut expected = vec![
        "parent: chain_start: 0".to_owned(),
        "one: llm_start: prompt".to_owned(),
        "two: llm_start: prompt".to_owned(),
    ];
    for round in 0..rounds {
        one.on_llm_new_token(format!("{round}")).await.unwrap();
        two.on_llm_new_token(format!("{round}")).await.unwrap();
        parent.on_text(format!("{round}")).await.unwrap();
        expected.push(format!("one: token: {round}"));
        expected.push(format!("two: token: {round}"));
        expected.push(format!("parent: text: {round}"));
    }
    two.end("two").await.unwrap();
    one.end("one").await.unwrap();
    parent.end(json!(1)).await.unwrap();
    for end in ["two: llm_end: two", "one: llm_end: one", "parent: chain_end: 1"] {
        expected.push(end.to_owned());
    }
    expected
}

on_every_runtime! {
    async fn siblings_that_emit_in_turn_are_seen_in_turn(rt) {
        let watched = Watched::new(&rt);
        let expected = alternating(&watched.callbacks, 20).await;
        watched.callbacks.flush().await.unwrap();
        for (name, log) in &watched.logs {
            assert_eq!(log.lines(), expected, "{name}");
        }
    }

    /// The whole trace waits in the queue of a sync handler that is in a call, and is delivered in
    /// the order in which it was accepted.
    async fn a_trace_that_waited_in_a_queue_is_seen_in_turn(rt: with_blocking_threads) {
        for delivery in [Delivery::from(Pipelined::new(64)), Background::new(64).into()] {
            let (handler, mut grip) = held();
            let callbacks = rt.callbacks().with_handler_options(handler, delivery);
            let stranger = chain(&callbacks, "stranger").await;
            assert_eq!(grip.entered().await, "stranger chain_start: 0");
            let emitting = rt.go({
                let callbacks = callbacks.clone();
                async move { alternating(&callbacks, 10).await }
            });
            // The stranger's start, and all of the trace up to the first end.
            while callbacks.stats()[0].pending < 35 {
                yield_now().await;
            }
            let rest = grip.open();
            let expected = emitting.await;
            drop(stranger);
            callbacks.flush().await.unwrap();
            drop(callbacks);
            let mut seen = rest.await;
            seen.retain(|line| !line.starts_with("stranger"));
            let expected = expected.iter().map(|line| line.replacen(": ", " ", 1));
            assert_eq!(seen, expected.collect::<Vec<_>>());
        }
    }

    /// An async handler with a queue has one call at a time in a trace, also of siblings.
    async fn an_async_handlers_calls_for_siblings_do_not_overlap(rt) {
        let (handler, mut grip) = held_async();
        let callbacks = rt.callbacks().with_async_handler_options(handler, Pipelined::new(8));
        let parent = chain(&callbacks, "parent").await;
        assert_eq!(grip.entered().await, "parent chain_start: 0");
        grip.let_go();
        let one = model(&parent.child(), "one").await;
        let two = model(&parent.child(), "two").await;
        assert_eq!(grip.entered().await, "one llm_start: prompt");
        let mut next = std::pin::pin!(grip.entered());
        for _ in 0..20 {
            assert!(poll_once(&mut next).await.is_none());
            yield_now().await;
        }
        drop((one, two, parent));
        drop(callbacks);
    }

    /// Siblings on tasks of their own: each is in order in itself, and all are inside their parent.
    async fn siblings_on_tasks_of_their_own_are_seen_inside_their_parent(rt) {
        let forest = Forest::new(&rt);
        let parent = chain(&forest.callbacks, "parent").await;
        let siblings = (0..10).map(|number| {
            rt.go(streamed(parent.child(), format!("sibling {number}"), 10))
        });
        join_all(siblings).await.into_iter().for_each(Result::unwrap);
        parent.end(json!(1)).await.unwrap();
        forest.assert_whole(11).await;
        for (handler, history) in &forest.histories {
            assert_eq!(history.0.lock().unwrap().len(), 2 + 10 * 12, "{handler}");
        }
    }
}
