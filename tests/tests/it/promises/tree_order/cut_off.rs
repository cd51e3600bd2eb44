//! Children that are dropped in the middle while their parent goes on: time-outs, `try_join`,
//! a client that has gone.

use std::future::pending;
use std::pin::pin;

use futures_util::future::{Either, select, try_join};
use rappel_tests::on_every_runtime;

use super::*;

/// A model's run that never comes to an end by itself.
async fn silent_model(callbacks: CallbackManager) -> Result<(), RunError> {
    let mut run = callbacks.on_llm_start(LlmStart::new("model", "prompt")).await?;
    run.on_llm_new_token("a").await?;
    pending::<()>().await;
    run.end("a").await?;
    Ok(())
}

/// Drops the future unless it is ready after so many turns.
async fn timeout<T>(turns: usize, future: impl Future<Output = T>) -> Option<T> {
    let time = async {
        for _ in 0..turns {
            yield_now().await;
        }
    };
    match select(pin!(future), pin!(time)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}

fn current() -> CallbackManager {
    CallbackManager::current().unwrap()
}

on_every_runtime! {
    async fn a_chain_that_goes_on_after_its_model_timed_out_ends_after_the_model(rt) {
        for turns in 0..20 {
            let forest = Forest::new(&rt);
            let body = async {
                assert!(timeout(turns, silent_model(current())).await.is_none());
                Ok::<_, RunError>(1)
            };
            body.in_chain(&forest.callbacks, "chain", 0).await.unwrap();
            forest.assert_in_order().await;
            for (handler, history) in &forest.histories {
                assert_eq!(history.ends_of("chain"), [EventKind::ChainEnd], "{handler}");
            }
        }
    }

    /// The same with runs that are emitted by hand, and with more than one level to cut off.
    async fn a_run_that_ends_right_after_a_time_out_ends_after_all_that_was_cut_off(rt) {
        for turns in 0..20 {
            let forest = Forest::new(&rt);
            let outer = chain(&forest.callbacks, "outer").await;
            let children = outer.child();
            let work = async {
                let inner = async {
                    silent_model(current()).in_tool(&current(), "tool", "input").await
                };
                inner.in_chain(&children, "inner", 0).await
            };
            assert!(timeout(turns, work).await.is_none());
            outer.end(json!(1)).await.unwrap();
            forest.assert_in_order().await;
        }
    }

    /// The branch that fails drops the other one, and the error ends the chain at once.
    async fn a_failed_branch_of_a_join_ends_the_chain_after_the_other_branch(rt) {
        for turns in 0..20 {
            let forest = Forest::new(&rt);
            let body = async {
                let fails = async {
                    for _ in 0..turns {
                        yield_now().await;
                    }
                    Err::<(), _>(RunError::failed("broken"))
                };
                let fails = fails.in_tool(&current(), "fails", "input");
                let waits = silent_model(current()).in_tool(&current(), "waits", "input");
                try_join(fails, waits).await?;
                Ok::<_, RunError>(1)
            };
            body.in_chain(&forest.callbacks, "chain", 0).await.unwrap_err();
            forest.assert_in_order().await;
            for (handler, history) in &forest.histories {
                assert_eq!(history.ends_of("chain"), [EventKind::ChainError], "{handler}");
            }
        }
    }

    /// The future of the whole chain is dropped, as a web service does when its client has gone.
    async fn a_chain_that_is_dropped_at_any_poll_ends_after_all_inside_it(rt) {
        for turns in 0..30 {
            let forest = Forest::new(&rt);
            let body = async {
                let tool = async { silent_model(current()).await };
                tool.in_tool(&current(), "tool", "input").await
            };
            let chain = body.in_chain(&forest.callbacks, "chain", 0);
            assert!(timeout(turns, chain).await.is_none());
            forest.assert_in_order().await;
        }
    }
}
