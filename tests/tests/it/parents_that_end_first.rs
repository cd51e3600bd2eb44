//! A parent that ends closes its open children first, deepest first. Every handler sees the
//! children's ends before the parent's end, in every delivery.

use std::time::Duration;

use futures_lite::future::{poll_once, yield_now};
use rappel_core::prelude::*;
use rappel_core::{HandlerFuture, json};
use rappel_tests::held::{HeldAsync, held, held_async};
use rappel_tests::on_every_runtime;
use rappel_tests::record::{Log, line};
use rappel_tests::runtimes::Rt;

/// A manager with a handler for each delivery that loses nothing, and the log of each handler.
fn watched(rt: &Rt) -> (CallbackManager, Vec<(&'static str, Log)>) {
    let deliveries: [(&str, HandlerOptions); 5] = [
        ("awaited", Awaited::new().into()),
        ("inline", Awaited::new().inline().into()),
        ("narrow", Pipelined::new(1).into()),
        ("wide", Pipelined::new(64).into()),
        ("background", Background::new(64).overflow(Overflow::Wait).into()),
    ];
    let mut callbacks = rt.callbacks();
    let mut logs = Vec::new();
    for (name, options) in deliveries {
        for kind in ["sync", "async"] {
            let log = Log::new();
            logs.push((name, log.clone()));
            let options = options.clone().name(format!("{kind} {name}"));
            callbacks = match kind {
                "sync" => callbacks.with_handler_options(sync(log), options),
                _ => callbacks.with_async_handler_options(asynchronous(log), options),
            };
        }
    }
    (callbacks, logs)
}

fn sync(log: Log) -> impl CallbackHandler + Send {
    handler_fn(move |event, cx| {
        log.write(format!("{}: {}", cx.name(), line(event)));
        Ok(())
    })
}

/// Yields in each call, so that a call takes more than one poll.
fn asynchronous(log: Log) -> impl AsyncCallbackHandler {
    async_handler_fn(async move |event, cx| {
        yield_now().await;
        log.write(format!("{}: {}", cx.name(), line(event)));
        Ok(())
    })
}

/// Holds the calls for tokens, and no others.
struct HeldInTokens(HeldAsync);

impl AsyncCallbackHandler for HeldInTokens {
    fn interest(&self) -> Interest {
        Interest::only(EventKind::LlmNewToken)
    }

    fn on_event<'a>(&'a self, event: &'a Event, cx: &'a EventContext) -> HandlerFuture<'a> {
        self.0.on_event(event, cx)
    }
}

/// Asserts that every handler saw exactly this, once all is delivered.
async fn assert_all_saw(
    callbacks: &CallbackManager,
    logs: &[(&'static str, Log)],
    expected: &[&str],
) {
    callbacks.flush().await.unwrap();
    for (name, log) in logs {
        assert_eq!(log.lines(), expected, "{name}");
    }
}

async fn chain(callbacks: &CallbackManager) -> ChainRun {
    callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap()
}

async fn tool(callbacks: &CallbackManager, name: &'static str) -> ToolRun {
    callbacks.on_tool_start(ToolStart::new(name, "in")).await.unwrap()
}

async fn llm(callbacks: &CallbackManager) -> LlmRun {
    let mut llm = callbacks.on_llm_start(LlmStart::new("llm", "prompt")).await.unwrap();
    llm.on_llm_new_token("a").await.unwrap();
    llm
}

const OPENED: [&str; 4] =
    ["chain: chain_start: 0", "tool: tool_start: in", "llm: llm_start: prompt", "llm: token: a"];

const CLOSED: [&str; 2] = ["llm: llm_error: cancelled: a", "tool: tool_error: cancelled"];

on_every_runtime! {
    async fn an_end_closes_the_open_children_first_in_every_delivery(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let tool = tool(&chain.child(), "tool").await;
        let mut llm = llm(&tool.child()).await;
        chain.end(json!(1)).await.unwrap();
        let expected = [&OPENED[..], &CLOSED, &["chain: chain_end: 1"]].concat();
        assert_all_saw(&callbacks, &logs, &expected).await;

        // Both stay closed, and nothing comes after.
        assert!(matches!(
            llm.on_llm_new_token("b").await,
            Err(EmitError::RunClosed)
        ));
        assert!(matches!(
            llm.on_llm_new_token("c").await,
            Err(EmitError::RunClosed)
        ));
        assert!(matches!(llm.end("ab").await, Err(EmitError::RunClosed)));
        assert!(matches!(tool.end("out").await, Err(EmitError::RunClosed)));
        assert_all_saw(&callbacks, &logs, &expected).await;
    }

    async fn a_dropped_parent_closes_the_open_children_first_in_every_delivery(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let tool = tool(&chain.child(), "tool").await;
        let llm = llm(&tool.child()).await;
        drop(chain);
        let expected = [&OPENED[..], &CLOSED, &["chain: chain_error: cancelled"]].concat();
        assert_all_saw(&callbacks, &logs, &expected).await;
        drop((tool, llm));
        assert_all_saw(&callbacks, &logs, &expected).await;
    }

    async fn a_failed_parent_closes_the_open_children_first_in_every_delivery(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let tool = tool(&chain.child(), "tool").await;
        let _llm = llm(&tool.child()).await;
        chain.fail("broken").await.unwrap();
        let expected = [&OPENED[..], &CLOSED, &["chain: chain_error: failed"]].concat();
        assert_all_saw(&callbacks, &logs, &expected).await;
    }

    async fn a_shutdown_closes_a_tree_deepest_first_in_every_delivery(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let tool = tool(&chain.child(), "tool").await;
        let llm = llm(&tool.child()).await;
        callbacks.shutdown(Duration::ZERO).await.unwrap();
        let expected = [&OPENED[..], &CLOSED, &["chain: chain_error: cancelled"]].concat();
        assert_all_saw(&callbacks, &logs, &expected).await;
        drop((chain, tool, llm));
    }

    /// Also if the tree is dropped from its root downwards.
    async fn runs_that_are_dropped_in_any_order_end_deepest_first(rt) {
        for order in 0..3 {
            let (callbacks, logs) = watched(&rt);
            let chain = chain(&callbacks).await;
            let tool = tool(&chain.child(), "tool").await;
            let llm = llm(&tool.child()).await;
            match order {
                0 => drop((chain, tool, llm)),
                1 => drop((llm, tool, chain)),
                _ => drop((tool, chain, llm)),
            }
            let expected = [&OPENED[..], &CLOSED, &["chain: chain_error: cancelled"]].concat();
            assert_all_saw(&callbacks, &logs, &expected).await;
        }
    }

    /// A child that is dropped with its future, as by a time-out or a `try_join`, ends before a
    /// parent that goes on.
    async fn a_dropped_child_ends_before_a_parent_that_ends_right_after(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let tool = tool(&chain.child(), "tool").await;
        let mut llm = llm(&tool.child()).await;
        let model = async move {
            let _ = llm.on_llm_new_token("b").await;
            std::future::pending::<()>().await;
        };
        // The token may be on its way when the future is dropped.
        assert!(poll_once(model).await.is_none());
        tool.fail("no answer").await.unwrap();
        chain.end(json!(1)).await.unwrap();
        let expected = [
            &OPENED[..],
            &[
                "llm: token: b",
                "llm: llm_error: cancelled: ab",
                "tool: tool_error: failed",
                "chain: chain_end: 1",
            ],
        ]
        .concat();
        assert_all_saw(&callbacks, &logs, &expected).await;
    }

    /// A child's event that is in a handler's call is finished first, then the child is closed.
    async fn an_event_in_flight_is_finished_before_its_run_is_closed(rt) {
        let (held, mut grip) = held_async();
        let log = Log::new();
        let callbacks = rt
            .callbacks()
            .with_async_handler(log.async_handler())
            .with_async_handler(HeldInTokens(held));
        let chain = chain(&callbacks).await;
        let child = chain.child();
        let mut llm = child
            .on_llm_start(LlmStart::new("llm", "prompt"))
            .await
            .unwrap();
        let mut token = Box::pin(llm.on_llm_new_token("a"));
        assert!(poll_once(&mut token).await.is_none());
        assert_eq!(grip.entered().await, "llm token: a");

        let mut end = Box::pin(chain.end(json!(1)));
        assert!(poll_once(&mut end).await.is_none());
        assert_eq!(log.lines().len(), 3, "the end waits for the child's token");
        grip.let_go();
        token.await.unwrap();
        end.await.unwrap();
        drop(llm);
        callbacks.flush().await.unwrap();
        assert_eq!(
            log.lines(),
            [
                "chain_start: 0",
                "llm_start: prompt",
                "token: a",
                "llm_error: cancelled: a",
                "chain_end: 1",
            ]
        );
    }

    /// A child is closed for its parent once its end is in a handler's queue.
    async fn an_end_does_not_wait_for_a_background_handler(rt: with_blocking_threads) {
        let (held, mut grip) = held();
        let callbacks = rt
            .callbacks()
            .with_handler_options(held, Background::new(64));
        let chain = chain(&callbacks).await;
        assert_eq!(grip.entered().await, "chain chain_start: 0");
        let tool = tool(&chain.child(), "tool").await;
        chain.end(json!(1)).await.unwrap();
        assert!(matches!(tool.end("out").await, Err(EmitError::RunClosed)));
        drop(callbacks);
        assert_eq!(
            grip.open().await,
            [
                "tool tool_start: in",
                "tool tool_error: cancelled",
                "chain chain_end: 1"
            ]
        );
    }

    async fn the_children_of_each_sibling_are_closed_before_it(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let first = tool(&chain.child(), "first").await;
        let second = tool(&chain.child(), "second").await;
        let inner = (
            tool(&first.child(), "first.inner").await,
            tool(&second.child(), "second.inner").await,
        );
        chain.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        drop((first, second, inner));
        for (name, log) in &logs {
            let lines = log.lines();
            let place = |run: &str| {
                let end = format!("{run}: tool_error: cancelled");
                let places: Vec<usize> = lines
                    .iter()
                    .enumerate()
                    .filter(|(_, line)| **line == end)
                    .map(|(place, _)| place)
                    .collect();
                assert_eq!(places.len(), 1, "{name}: {lines:?}");
                places[0]
            };
            assert!(place("first.inner") < place("first"), "{name}: {lines:?}");
            assert!(place("second.inner") < place("second"), "{name}: {lines:?}");
            assert_eq!(
                lines.last().map(String::as_str),
                Some("chain: chain_end: 1"),
                "{name}"
            );
            assert_eq!(lines.len(), 10, "{name}: {lines:?}");
        }
    }

    /// The result counts from the moment in which `end` is called.
    async fn a_dropped_end_ends_the_run_with_its_result(rt) {
        for polls in 0..2 {
            let (callbacks, logs) = watched(&rt);
            let chain = chain(&callbacks).await;
            let tool = tool(&chain.child(), "tool").await;
            let llm = llm(&tool.child()).await;
            let mut end = chain.end(json!(1));
            if polls == 1 {
                // It may be pending or done.
                let _ = poll_once(&mut end).await;
            }
            drop(end);
            let expected = [&OPENED[..], &CLOSED, &["chain: chain_end: 1"]].concat();
            assert_all_saw(&callbacks, &logs, &expected).await;
            drop((tool, llm));
        }
    }

    async fn an_end_has_the_number_of_children_that_it_closed(rt) {
        let log = Log::new();
        let counts = log.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |event, _| {
            match event {
                Event::ChainEnd(end) => counts.write(end.open_children.to_string()),
                Event::ChainError(error) => counts.write(error.open_children.to_string()),
                _ => {}
            }
            Ok(())
        }));
        let first = chain(&callbacks).await;
        tool(&first.child(), "ended")
            .await
            .end("out")
            .await
            .unwrap();
        first.end(json!(1)).await.unwrap();

        let second = chain(&callbacks).await;
        let open = (
            tool(&second.child(), "open").await,
            tool(&second.child(), "open").await,
        );
        drop(second);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["0", "2"]);
        assert!(open.0.end("out").await.is_err());
        assert!(open.1.end("out").await.is_err());
    }

    /// Background work keeps its parent's id and outlives it. Its own children belong to it.
    async fn detached_children_outlive_their_parent(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let background = tool(&chain.child().detached(), "background").await;
        assert_eq!(background.info().parent_id(), Some(chain.id()));
        assert_eq!(background.info().root_id(), chain.id());
        let inside = tool(&background.child(), "inside").await;
        chain.end(json!(1)).await.unwrap();
        background.end("done").await.unwrap();
        assert!(matches!(
            inside.end("late").await,
            Err(EmitError::RunClosed)
        ));
        callbacks.flush().await.unwrap();
        for (name, log) in &logs {
            // A detached run is a trace of its own, so that its order against its parent is free.
            let lines = log.lines();
            let of = |runs: &[&str]| -> Vec<String> {
                let of_runs =
                    |line: &&String| runs.iter().any(|run| line.starts_with(&format!("{run}: ")));
                lines.iter().filter(of_runs).cloned().collect()
            };
            assert_eq!(
                of(&["chain"]),
                ["chain: chain_start: 0", "chain: chain_end: 1"],
                "{name}"
            );
            assert_eq!(
                of(&["background", "inside"]),
                [
                    "background: tool_start: in",
                    "inside: tool_start: in",
                    "inside: tool_error: cancelled",
                    "background: tool_end: \"done\"",
                ],
                "{name}"
            );
        }
    }

    /// A run that starts under a parent that has ended is detached.
    async fn the_child_manager_of_an_ended_run_stays_usable(rt) {
        let (callbacks, logs) = watched(&rt);
        let chain = chain(&callbacks).await;
        let (child, id) = (chain.child(), chain.id());
        chain.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        let late = tool(&child, "late").await;
        assert_eq!(late.info().parent_id(), Some(id));
        tool(&late.child(), "inner").await.end("out").await.unwrap();
        late.end("out").await.unwrap();
        assert_all_saw(
            &callbacks,
            &logs,
            &[
                "chain: chain_start: 0",
                "chain: chain_end: 1",
                "late: tool_start: in",
                "inner: tool_start: in",
                "inner: tool_end: \"out\"",
                "late: tool_end: \"out\"",
            ],
        )
        .await;
    }
}
