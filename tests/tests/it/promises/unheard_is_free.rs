//! 10. What is not heard is free: no allocation, no lock, a nanosecond. (Times are the benches' affair.)

use rappel_core::{EventGroup, Interest, Token};
use rappel_tests::on_every_runtime;

use super::*;

on_every_runtime! {
    async fn a_token_that_nobody_hears_allocates_nothing(rt) {
        let callbacks = rt.callbacks();
        assert_nothing_made(&callbacks).await;
        assert_nothing_made(&callbacks.with_handler(Chains)).await;
    }

    async fn nor_does_one_that_was_declined_once(rt) {
        let callbacks = rt.callbacks().with_async_handler(Starts);
        streamed(callbacks.clone(), "teaches".into(), 1).await.unwrap();
        drop(callbacks.on_llm_start(LlmStart::new("teaches", "prompt")).await.unwrap());
        callbacks.flush().await;
        assert_nothing_made(&callbacks).await;
    }
}

async fn assert_nothing_made(callbacks: &CallbackManager) {
    let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
    // Blocking on a future for the first time allocates, on each thread.
    futures_lite::future::block_on(async {});
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            // A text that would need the heap, were it made.
            let emit = run.on_llm_new_token(Unmade);
            assert!(futures_lite::future::block_on(emit).is_ok());
        }
    });
    assert_eq!(counted.count_total, 0);
}

/// Wants chains only.
struct Chains;

impl CallbackHandler for Chains {
    fn on_chain_start(&mut self, _: &ChainStart, _: &RunInfo) -> HandlerResult {
        Ok(())
    }

    fn interest(&self) -> Interest {
        Interest::none().with_group(EventGroup::Chain)
    }
}

/// Wants all, as far as is known, and handles starts only: that has to be learnt.
struct Starts;

impl AsyncCallbackHandler for Starts {
    async fn on_llm_start(&self, _: &LlmStart, _: &RunInfo) -> HandlerResult {
        Ok(())
    }
}

/// A token that must not be made.
struct Unmade;

impl From<Unmade> for LlmNewToken {
    fn from(_: Unmade) -> Self {
        panic!("nobody hears it: {:?}", Token::from("made"))
    }
}
