//! Limits on tokens, calls and dollars.

use rappel_core::prelude::*;
use rappel_handlers::{Budget, BudgetError, Price, Prices, With};
use rappel_testkit::{Answer, ScriptedChatModel};

use crate::support::on_runtimes;

fn model(callbacks: &CallbackManager) -> ScriptedChatModel {
    let answer = Answer::text("Why not?").usage(TokenUsage::new(6, 4));
    ScriptedChatModel::new(vec![answer; 5]).callbacks(callbacks)
}

fn cause(error: &RunError) -> BudgetError {
    let RunError::Stopped(failure) = error else { panic!("{error}") };
    let rappel_core::FailureCause::Error(cause) = &failure.cause else { panic!("{failure}") };
    cause.downcast_ref::<BudgetError>().unwrap().clone()
}

on_runtimes! {
    async fn tokens_that_are_used_up_stop_the_next_run(callbacks) {
        let budget = Budget::new().tokens(15);
        let model = model(&callbacks.with(budget.clone()));
        model.invoke("1").await.unwrap();
        // Five are left, so the run starts, and overshoots.
        model.invoke("2").await.unwrap();
        let refused = model.invoke("3").await.unwrap_err();
        assert_eq!(cause(&refused), BudgetError::Tokens { limit: 15, spent: 20 });
        assert_eq!((budget.spent().tokens, budget.spent().calls), (20, 2));
    }

    async fn runs_side_by_side_do_not_overshoot_calls(callbacks) {
        let budget = Budget::new().calls(3);
        let callbacks = callbacks.with(budget.clone());
        let starts = (0..10).map(|_| callbacks.on_llm_start(LlmStart::new("m", "")));
        let started = futures_util::future::join_all(starts).await;
        assert_eq!(started.iter().filter(|run| run.is_ok()).count(), 3);
        assert_eq!(budget.spent().calls, 3);
    }

    async fn each_trace_has_a_budget_of_its_own(callbacks) {
        let budget = Budget::new().calls(1).per_trace();
        let callbacks = callbacks.with(budget.clone());
        for _ in 0..2 {
            let chain = callbacks.on_chain_start(ChainStart::new("c", "")).await.unwrap();
            let run = chain.child().on_llm_start(LlmStart::new("m", "")).await.unwrap();
            run.end("Why not?").await.unwrap();
            assert!(chain.child().on_llm_start(LlmStart::new("m", "")).await.is_err());
            chain.end("").await.unwrap();
        }
        assert_eq!(budget.spent().calls, 2);
    }
}

#[test]
fn a_budget_in_dollars_refuses_a_model_without_a_price() {
    let prices = Prices::new().with("scripted", Price::per_million(1e6, 0.0));
    let budget = Budget::new().cost(10.0, prices);
    let callbacks = crate::support::callbacks().with(budget.clone());
    futures_executor::block_on(async {
        let priced = model(&callbacks);
        let unknown = model(&callbacks).name("unknown");
        let refused = unknown.invoke("1").await.unwrap_err();
        assert_eq!(cause(&refused), BudgetError::Unpriced { model: "unknown".into() });
        priced.invoke("1").await.unwrap();
        priced.invoke("2").await.unwrap();
        let refused = priced.invoke("3").await.unwrap_err();
        assert_eq!(cause(&refused), BudgetError::Cost { limit: 10.0, spent: 12.0 });
    });
}

#[test]
fn a_limit_or_a_price_that_could_not_hold_is_a_panic_that_says_so() {
    let said = |f: fn()| {
        let panic = std::panic::catch_unwind(f).expect_err("it is refused at once");
        panic.downcast_ref::<String>().unwrap().clone()
    };
    let texts = [
        said(|| _ = Budget::new().cost(f64::NAN, Prices::new())),
        said(|| _ = Budget::new().cost(f64::INFINITY, Prices::new())),
        said(|| _ = Budget::new().cost(-1.0, Prices::new())),
        said(|| _ = Prices::new().with("m", Price::per_million(f64::NAN, 1.0))),
        said(|| _ = Prices::new().with("m", Price::per_million(1.0, -1.0))),
        said(|| _ = Prices::new().with("m", Price::per_million(1.0, 1.0).cached(f64::INFINITY))),
        said(|| _ = Prices::new().with("m", Price::per_million(1.0, 1.0).cache_write(-0.5))),
    ];
    for text in texts {
        assert!(text.contains("must be a number of dollars, and not negative"), "{text}");
    }
    let _ = Budget::new().cost(0.0, Prices::new().with("m", Price::per_million(0.0, 0.0)));
}
