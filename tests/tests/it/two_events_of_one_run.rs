//! Events of one run that are emitted at the same time take turns: all handlers see them in one order, and none is lost.

use futures_util::future::{join, join_all};
use rappel_core::json;
use rappel_core::prelude::*;
use rappel_tests::on_every_runtime;
use rappel_tests::record::Log;

on_every_runtime! {
    async fn are_seen_in_one_order_by_all(rt) {
        let (first, second) = (Log::new(), Log::new());
        let yields = async_handler_fn(|_, _| async {
            futures_lite::future::yield_now().await;
            Ok(())
        });
        let callbacks = rt.callbacks()
            .with_handler(first.handler())
            .with_async_handler(yields)
            .with_async_handler(second.async_handler());
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let texts = (0..20).map(|number| chain.on_text(number.to_string()));
        assert!(join_all(texts).await.iter().all(Result::is_ok));
        chain.end(json!(1)).await.unwrap();
        assert_eq!(first.lines(), second.lines());
        let mut sorted = first.lines();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 22);
    }

    /// An event that its emitter has polled once and then left alone does not hold up the next one for ever.
    async fn one_that_is_not_polled_on_is_finished_by_the_next(rt) {
        let log = Log::new();
        let yields = async_handler_fn(|_, _| async {
            futures_lite::future::yield_now().await;
            Ok(())
        });
        let callbacks = rt.callbacks().with_async_handler(yields).with_handler(log.handler());
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        let mut first = chain.on_text("first");
        assert!(futures_lite::future::poll_once(&mut first).await.is_none());
        chain.on_text("second").await.unwrap();
        assert_eq!(log.lines(), ["chain_start: 0", "text: first", "text: second"]);
        // Its own outcome is still there for its emitter.
        first.await.unwrap();
        chain.end(json!(1)).await.unwrap();
    }

    async fn an_outcome_reaches_its_own_emitter(rt) {
        let picky = async_handler_fn(|event, _| {
            let fails = matches!(event, Event::Text(text) if text.text == "bad");
            async move {
                futures_lite::future::yield_now().await;
                if fails { Err(HandlerError::new("bad")) } else { Ok(()) }
            }
        });
        let callbacks = rt.callbacks()
            .on_handler_failure(|_| {})
            .with_async_handler_options(picky, HandlerOptions::new().raise_error(true));
        let chain = callbacks.on_chain_start(ChainStart::new("chain", json!(0))).await.unwrap();
        for _ in 0..10 {
            let (good, bad) = join(chain.on_text("good"), chain.on_text("bad")).await;
            assert!(good.is_ok() && bad.is_err());
        }
        chain.end(json!(1)).await.unwrap();
    }
}
