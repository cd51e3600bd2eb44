//! Runs that are open below a run that ends, is dropped or is shut down.

use rappel_tests::on_every_runtime;

use super::*;

/// The order in which the runs of a family are dropped: every permutation of four.
fn permutations() -> Vec<[usize; 4]> {
    let mut all = Vec::new();
    for number in 0..24_usize {
        let (mut left, mut rest, mut order) = (vec![0, 1, 2, 3], number, [0; 4]);
        for (place, radix) in order.iter_mut().zip((1..=4).rev()) {
            *place = left.remove(rest % radix);
            rest /= radix;
        }
        all.push(order);
    }
    all
}

on_every_runtime! {
    async fn an_end_closes_the_open_runs_below_it_first_and_the_deepest_first(rt) {
        let watched = Watched::new(&rt);
        let family = Family::new(&watched.callbacks).await;
        family.chain.end(json!(1)).await.unwrap();
        // Without a flush: awaited and pipelined handlers have handled all of it.
        for (name, log) in &watched.logs {
            if !name.contains("background") {
                assert_eq!(log.lines(), Family::lines("chain: chain_end: 1"), "{name}");
            }
        }
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&Family::lines("chain: chain_end: 1"));
    }

    async fn a_failure_closes_the_open_runs_below_it_first(rt) {
        let watched = Watched::new(&rt);
        let family = Family::new(&watched.callbacks).await;
        family.chain.fail("broken").await.unwrap();
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&Family::lines("chain: chain_error: failed"));
    }

    async fn a_drop_closes_the_open_runs_below_it_first(rt) {
        let watched = Watched::new(&rt);
        let family = Family::new(&watched.callbacks).await;
        let (chain, rest) = (family.chain, (family.inner, family.tool, family.model));
        drop(chain);
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&Family::lines("chain: chain_error: cancelled"));
        drop(rest);
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&Family::lines("chain: chain_error: cancelled"));
    }

    async fn runs_that_are_dropped_in_any_order_end_from_the_deepest_up(rt) {
        for order in permutations() {
            let watched = Watched::new(&rt);
            let family = Family::new(&watched.callbacks).await;
            let mut runs: [Option<Box<dyn Send>>; 4] = [
                Some(Box::new(family.chain)),
                Some(Box::new(family.inner)),
                Some(Box::new(family.tool)),
                Some(Box::new(family.model)),
            ];
            for run in order {
                drop(runs[run].take());
            }
            watched.callbacks.flush().await.unwrap();
            watched.assert_all_saw(&Family::lines("chain: chain_error: cancelled"));
        }
    }

    async fn a_shutdown_closes_open_runs_from_the_deepest_up(rt) {
        let watched = Watched::new(&rt);
        let family = Family::new(&watched.callbacks).await;
        let report = watched.callbacks.shutdown(Duration::ZERO).await.unwrap();
        assert_eq!(report.closed_runs, 4);
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&Family::lines("chain: chain_error: cancelled"));
        drop(family.chain);
    }

    /// The runs below a run in the middle are closed with it; the run above it goes on.
    async fn a_run_in_the_middle_that_ends_leaves_its_parent_open(rt) {
        let watched = Watched::new(&rt);
        let mut family = Family::new(&watched.callbacks).await;
        family.inner.end(json!(1)).await.unwrap();
        family.chain.on_text("goes on").await.unwrap();
        family.chain.end(json!(2)).await.unwrap();
        watched.callbacks.flush().await.unwrap();
        let rest = [
            "inner: chain_end: 1", "chain: text: goes on", "chain: chain_end: 2",
        ];
        watched.assert_all_saw(&[&Family::STARTS[..], &Family::CLOSED[..2], &rest].concat());
    }

    /// The end of an `End` that was dropped comes before the parent's end all the same.
    async fn a_childs_end_that_was_dropped_comes_before_its_parents_end(rt) {
        for polls in [0, 1] {
            let watched = Watched::new(&rt);
            let parent = chain(&watched.callbacks, "parent").await;
            let child = tool(&parent.child(), "child").await;
            let mut end = child.end("out");
            for _ in 0..polls {
                assert!(poll_once(&mut end).await.is_none());
            }
            drop(end);
            parent.end(json!(1)).await.unwrap();
            watched.callbacks.flush().await.unwrap();
            watched.assert_all_saw(&[
                "parent: chain_start: 0", "child: tool_start: input",
                "child: tool_end: \"out\"", "parent: chain_end: 1",
            ]);
        }
    }

    /// A child counts as open until the handlers that are awaited in place have handled its end.
    async fn a_parents_end_waits_for_the_handling_of_its_childs_end(rt) {
        let (handler, gate) = gated(|event| matches!(event, Event::ToolError(_)));
        let watched = Watched::on(rt.callbacks().with_async_handler(handler));
        let parent = chain(&watched.callbacks, "parent").await;
        let child = tool(&parent.child(), "child").await;
        let mut end = parent.end(json!(1));
        for _ in 0..10 {
            assert!(poll_once(&mut end).await.is_none());
            yield_now().await;
        }
        for (handler, lines) in watched.of("parent") {
            // A queued handler may not have come to the start yet.
            assert!(lines.iter().all(|line| line == "chain_start: 0"), "{handler}: {lines:?}");
        }
        drop(gate);
        end.await.unwrap();
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&[
            "parent: chain_start: 0", "child: tool_start: input",
            "child: tool_error: cancelled", "parent: chain_end: 1",
        ]);
        drop(child);
    }

    /// An end is decided at its first poll. Dropping it after that changes nothing.
    async fn an_end_that_is_dropped_while_it_closes_its_children_is_an_end(rt) {
        let (handler, gate) = gated(|event| matches!(event, Event::ToolError(_)));
        let watched = Watched::on(rt.callbacks().with_async_handler(handler));
        let parent = chain(&watched.callbacks, "parent").await;
        let child = tool(&parent.child(), "child").await;
        let mut end = parent.end(json!(1));
        assert!(poll_once(&mut end).await.is_none());
        drop(end);
        assert!(matches!(child.end("late").await, Err(EmitError::RunClosed)));
        drop(gate);
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&[
            "parent: chain_start: 0", "child: tool_start: input",
            "child: tool_error: cancelled", "parent: chain_end: 1",
        ]);
    }

    /// A child whose event is in flight, with its emitter gone, is closed after that event.
    async fn a_child_with_an_event_in_flight_is_closed_after_that_event(rt) {
        let (handler, gate) = gated(|event| matches!(event, Event::LlmNewToken(_)));
        let watched = Watched::on(rt.callbacks().with_async_handler(handler));
        let parent = chain(&watched.callbacks, "parent").await;
        let mut child = model(&parent.child(), "child").await;
        let mut emit = child.on_llm_new_token("a");
        assert!(poll_once(&mut emit).await.is_none());
        drop(emit);
        let mut end = parent.end(json!(1));
        assert!(poll_once(&mut end).await.is_none());
        drop(gate);
        end.await.unwrap();
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&[
            "parent: chain_start: 0", "child: llm_start: prompt", "child: token: a",
            "child: llm_error: cancelled: a", "parent: chain_end: 1",
        ]);
        drop(child);
    }

    /// A start that is still being handled when its parent ends has its end before the parent's.
    async fn a_start_in_flight_when_its_parent_ends_is_closed_too(rt) {
        let (handler, gate) = gated(|event| matches!(event, Event::ToolStart(_)));
        let watched = Watched::on(rt.callbacks().with_async_handler(handler));
        let parent = chain(&watched.callbacks, "parent").await;
        let children = parent.child();
        let mut start = children.on_tool_start(ToolStart::new("child", "input"));
        assert!(poll_once(&mut start).await.is_none());
        let mut end = parent.end(json!(1));
        assert!(poll_once(&mut end).await.is_none());
        drop(gate);
        let (child, ended) = futures_util::future::join(start, end).await;
        ended.unwrap();
        drop(child);
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&[
            "parent: chain_start: 0", "child: tool_start: input",
            "child: tool_error: cancelled", "parent: chain_end: 1",
        ]);
    }

    async fn five_hundred_open_children_are_closed_before_their_parent(rt) {
        let forest = Forest::new(&rt);
        let parent = chain(&forest.callbacks, "parent").await;
        let children = parent.child();
        let mut open = Vec::new();
        for _ in 0..500 {
            open.push(tool(&children, "child").await);
        }
        parent.end(json!(1)).await.unwrap();
        forest.assert_whole(501).await;
        for (handler, history) in &forest.histories {
            assert_eq!(history.ends_of("child").len(), 500, "{handler}");
        }
    }
}
