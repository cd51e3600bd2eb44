//! Tokens, requests and cost.

use std::sync::{Arc, Mutex};

use futures_util::future::join;
use rappel_core::prelude::*;
use rappel_core::{Map, json};
use rappel_handlers::{Price, Prices, Tokens, Usage, UsageReport, With};
use rappel_testkit::{Answer, Fault, FaultyChatModel, ScriptedChatModel};

use crate::support::{handed_over, on_runtimes};

fn answer(model: &str, usage: TokenUsage) -> LlmResult {
    LlmResult::from_text("Why not?").with_usage(usage).with_model_name(model)
}

async fn run(callbacks: &CallbackManager, result: LlmResult) {
    let run = callbacks.on_llm_start(LlmStart::new("asked", "Tell me a joke")).await.unwrap();
    run.end(result).await.unwrap();
}

on_runtimes! {
    async fn usage_is_summed_by_the_model_that_answered(callbacks) {
        let usage = Usage::new();
        let callbacks = callbacks.with(usage.clone());
        let cached = TokenUsage::new(10, 5).with_cached_tokens(4).with_reasoning_tokens(2);
        run(&callbacks, answer("small", cached)).await;
        run(&callbacks, answer("small", TokenUsage::new(1, 1))).await;
        run(&callbacks, answer("large", TokenUsage::new(100, 50))).await;
        let report = usage.report();
        let small = report.models["small"];
        assert_eq!(small.requests, 2);
        let tokens = small.tokens;
        let all = (tokens.input, tokens.output, tokens.cached, tokens.reasoning);
        assert_eq!(all, (11, 6, 4, 2));
        assert_eq!(report.models["large"].tokens, Tokens::new(100, 50));
        assert_eq!(report.total().requests, 3);
    }

    async fn a_run_that_another_process_goes_on_with_counts_nothing(callbacks) {
        let usage = Usage::new();
        let callbacks = callbacks.with(usage.clone());
        handed_over(&callbacks, TokenUsage::new(10, 5)).await;
        callbacks.flush().await.unwrap();
        assert_eq!(usage.report(), UsageReport::default());
    }

    async fn an_answer_without_usage_is_counted_apart(callbacks) {
        let usage = Usage::new();
        let callbacks = callbacks.with(usage.clone());
        run(&callbacks, LlmResult::from_text("Why not?")).await;
        let asked = usage.report().models["asked"];
        assert_eq!((asked.requests, asked.unmeasured, asked.cost()), (0, 1, None));
    }

    async fn usage_of_traces_is_given_at_their_end_and_not_kept(callbacks) {
        let traces: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
        let known = traces.clone();
        let usage = Usage::new().on_trace_end(move |root, report| {
            known.lock().unwrap().push((root.name().into(), report.total().tokens.total()));
        });
        let callbacks = callbacks.with(usage.clone());
        let one = callbacks.on_chain_start(ChainStart::new("one", "")).await.unwrap();
        let two = callbacks.on_chain_start(ChainStart::new("two", "")).await.unwrap();
        let (first, second) = (one.child(), two.child());
        join(
            run(&first, answer("m", TokenUsage::new(1, 2))),
            run(&second, answer("m", TokenUsage::new(10, 20))),
        )
        .await;
        assert_eq!(usage.trace(one.id()).unwrap().total().tokens.total(), 3);
        let ended = one.id();
        one.end("").await.unwrap();
        two.end("").await.unwrap();
        assert_eq!(*traces.lock().unwrap(), [("one".into(), 3), ("two".into(), 30)]);
        assert_eq!(usage.trace(ended), None);
    }

    async fn a_scope_counts_what_is_inside_and_nothing_else(callbacks) {
        let outer = Usage::new();
        let callbacks = callbacks.with(outer.clone());
        run(&callbacks, answer("m", TokenUsage::new(100, 100))).await;
        let model = ScriptedChatModel::new([
            Answer::text("a").usage(TokenUsage::new(1, 2)),
            Answer::text("b").usage(TokenUsage::new(3, 4)),
        ])
        .callbacks(callbacks.clone());
        let inside = async {
            model.invoke("one").await.unwrap();
            let (answer, inner) = Usage::scope(model.invoke("two")).await;
            answer.unwrap();
            inner
        };
        let (inner, report) = Usage::scope(inside).await;
        assert_eq!(inner.total().tokens, Tokens::new(3, 4));
        assert_eq!(report.total().tokens, Tokens::new(4, 6));
        assert_eq!(outer.report().total().tokens, Tokens::new(104, 106));
    }
}

#[test]
fn a_scope_needs_no_manager_and_no_runtime() {
    let model = ScriptedChatModel::new([Answer::text("a").usage(TokenUsage::new(1, 2))]);
    let future = Usage::scope(model.invoke("one"));
    let (answer, report) = futures_executor::block_on(future);
    answer.unwrap();
    assert_eq!(report.total().tokens, Tokens::new(1, 2));
}

#[test]
fn a_failed_run_counts_if_its_partial_result_has_usage() {
    let usage = Usage::new();
    let callbacks = crate::support::callbacks().with(usage.clone());
    futures_executor::block_on(async {
        let start = LlmStart::new("m", "Tell me a joke");
        let mut run = callbacks.on_llm_start(start).await.unwrap();
        let chunk = LlmChunk::new("Why").with_usage(TokenUsage::new(4, 1));
        run.on_llm_new_token(chunk).await.unwrap();
        run.fail("connection reset").await.unwrap();
        let run = callbacks.on_llm_start(LlmStart::new("m", "again")).await.unwrap();
        run.fail("refused").await.unwrap();
    });
    let total = usage.report().total();
    assert_eq!((total.requests, total.unmeasured, total.tokens), (1, 0, Tokens::new(4, 1)));
}

#[test]
fn a_retry_inside_a_run_counts_once() {
    let usage = Usage::new();
    let callbacks = crate::support::callbacks().with(usage.clone());
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        run.on_retry(Retry::new(1, "busy", std::time::Duration::ZERO)).await.unwrap();
        run.end(answer("m", TokenUsage::new(1, 1))).await.unwrap();
    });
    assert_eq!(usage.report().total().requests, 1);
}

#[test]
fn a_model_without_a_price_is_unknown_and_not_free() {
    let prices = Prices::new().with("priced", Price::per_million(1.0, 2.0).cached(0.5));
    let usage = Usage::with_prices(prices);
    let callbacks = crate::support::callbacks().with(usage.clone());
    let million = TokenUsage::new(1_000_000, 1_000_000).with_cached_tokens(500_000);
    futures_executor::block_on(async {
        run(&callbacks, answer("priced", million.clone())).await;
    });
    assert_eq!(usage.report().cost(), Some(0.5 + 0.25 + 2.0));
    futures_executor::block_on(run(&callbacks, answer("unheard-of", million)));
    let report = usage.report();
    assert_eq!(report.cost(), None);
    assert_eq!((report.total().known_cost, report.total().unpriced), (2.75, 1));
}

#[test]
fn the_model_is_that_of_the_parameters_if_the_answer_names_none() {
    let usage = Usage::new();
    let callbacks = crate::support::callbacks().with(usage.clone());
    let params = Map::from_iter([("model".into(), json!("gpt-4o-mini"))]);
    futures_executor::block_on(async {
        let start = LlmStart::new("ChatOpenAi", "").with_invocation_params(params);
        let run = callbacks.on_llm_start(start).await.unwrap();
        run.end(LlmResult::new().with_usage(TokenUsage::new(1, 1))).await.unwrap();
    });
    assert_eq!(usage.report().models.keys().collect::<Vec<_>>(), ["gpt-4o-mini"]);
}

#[test]
fn names_of_models_are_bounded() {
    let usage = Usage::new();
    let callbacks = crate::support::callbacks().with(usage.clone());
    futures_executor::block_on(async {
        for number in 0..1100 {
            run(&callbacks, answer(&format!("m{number}"), TokenUsage::new(1, 0))).await;
        }
    });
    let report = usage.report();
    assert!(report.models.len() <= 1001, "{}", report.models.len());
    assert_eq!(report.total().tokens.input, 1100);
    usage.reset();
    assert_eq!(usage.report(), UsageReport::default());
}

#[test]
fn a_model_that_fails_first_counts_its_second_answer() {
    let usage = Usage::new();
    let callbacks = crate::support::callbacks().with(usage.clone());
    let script = ScriptedChatModel::new([
        Answer::text("a").usage(TokenUsage::new(1, 1)),
        Answer::text("b").usage(TokenUsage::new(1, 1)),
    ]);
    let model = FaultyChatModel::new(script, [Fault::error_after(0, "reset")]).callbacks(callbacks);
    futures_executor::block_on(async {
        assert!(model.invoke("one").await.is_err());
        assert!(model.invoke("one").await.is_ok());
    });
    assert_eq!(usage.report().total().requests, 1);
}

#[cfg(feature = "prices")]
#[test]
fn bundled_prices_know_models_by_name() {
    let prices = Prices::bundled();
    futures_executor::block_on(prices.ready());
    let tokens = Tokens::new(1_000_000, 0);
    for _ in 0..2 {
        assert!(prices.cost(None, "gpt-4o-mini", &tokens).unwrap() > 0.0);
        assert!(prices.cost(Some("openai"), "gpt-4o-mini", &tokens).unwrap() > 0.0);
        // The provider's name is one that the table does not have.
        assert!(prices.cost(Some("my-proxy"), "gpt-4o-mini", &tokens).unwrap() > 0.0);
        assert_eq!(prices.cost(None, "no-such-model-at-all", &tokens), None);
    }
    let own = prices.with("gpt-4o-mini", Price::per_million(7.0, 0.0));
    assert_eq!(own.cost(None, "gpt-4o-mini", &tokens), Some(7.0));
}
