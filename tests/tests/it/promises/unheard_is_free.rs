//! Promise 11: what is not heard is free: no allocation, no lock, about a nanosecond. (Times are
//! measured by the benches.)

use futures_lite::future::block_on;
use futures_util::stream::{self, StreamExt};
use rappel_core::EventGroup;
use rappel_tests::on_every_runtime;

use super::*;

/// Wants the events of chains only.
struct Chains;

impl CallbackHandler for Chains {
    fn on_chain_start(&mut self, _: &ChainStart, _: &EventContext) -> HandlerResult {
        Ok(())
    }

    fn interest(&self) -> Interest {
        Interest::none().with_group(EventGroup::Chain)
    }
}

/// Wants the events of models only.
struct Models;

impl CallbackHandler for Models {
    fn interest(&self) -> Interest {
        Interest::none().with_group(EventGroup::Llm)
    }
}

/// Says that it wants all events, and handles starts only. The dispatcher has to learn that.
struct Starts;

impl AsyncCallbackHandler for Starts {
    async fn on_llm_start(&self, _: &LlmStart, _: &EventContext) -> HandlerResult {
        Ok(())
    }
}

/// A token that must not be made.
struct Unmade;

impl From<Unmade> for LlmNewToken {
    fn from(_: Unmade) -> Self {
        panic!("no handler wants it: {:?}", Token::from("made"))
    }
}

/// An item that must not be kept.
struct Unkept;

impl serde::Serialize for Unkept {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("no handler wants the chain's end")
    }
}

async fn assert_nothing_made(callbacks: &CallbackManager) {
    let mut run = model(callbacks, "run").await;
    // The first `block_on` of a thread allocates.
    block_on(async {});
    let counted = allocation_counter::measure(|| {
        for _ in 0..100 {
            // A text that would need the heap, were it made.
            assert!(block_on(run.on_llm_new_token(Unmade)).is_ok());
        }
    });
    assert_eq!(counted.count_total, 0);
}

on_every_runtime! {
    async fn a_token_that_no_handler_wants_allocates_nothing(rt) {
        let callbacks = rt.callbacks();
        assert_nothing_made(&callbacks).await;
        assert_nothing_made(&callbacks.with_handler(Chains)).await;
    }

    async fn a_token_that_was_declined_once_allocates_nothing(rt) {
        let callbacks = rt.callbacks().with_async_handler(Starts);
        streamed(callbacks.clone(), "teaches".into(), 1).await.unwrap();
        drop(model(&callbacks, "teaches").await);
        callbacks.flush().await.unwrap();
        assert_nothing_made(&callbacks).await;
    }

    /// Nothing is learnt from a manager without handlers: it is free from the first event.
    async fn a_token_of_the_default_manager_allocates_nothing(rt) {
        let _ = rt;
        assert_nothing_made(&CallbackManager::default()).await;
    }

    /// A run under one that was not heard is free as well.
    async fn a_token_below_an_unheard_run_allocates_nothing(rt) {
        let callbacks = rt.callbacks().with_handler_options(
            sync(Log::new()),
            HandlerOptions::new().inherit(false),
        );
        let parent = chain(&callbacks, "parent").await;
        assert_nothing_made(&parent.child()).await;
        parent.end(json!(1)).await.unwrap();
    }

    /// The output of a chain's stream is kept for handlers of its end only.
    async fn items_of_a_stream_whose_end_no_handler_wants_are_not_kept(rt) {
        for callbacks in [rt.callbacks(), rt.callbacks().with_handler(Models)] {
            let run = chain(&callbacks, "run").await;
            let items = stream::iter([Unkept, Unkept]).map(Ok::<_, std::io::Error>);
            assert_eq!(items.with_chain_callbacks(run).count().await, 2);
        }
    }
}
