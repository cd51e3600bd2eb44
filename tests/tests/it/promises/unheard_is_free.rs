//! 10. What is not heard is free: no allocation, no lock, a nanosecond. (Times are the benches' affair.)

use rappel_core::Token;
use rappel_tests::on_every_runtime;

use super::*;

on_every_runtime! {
    async fn a_token_that_nobody_hears_allocates_nothing(rt) {
        let run = rt.callbacks().on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
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
}

/// A token that must not be made.
struct Unmade;

impl From<Unmade> for LlmNewToken {
    fn from(_: Unmade) -> Self {
        panic!("nobody hears it: {:?}", Token::from("made"))
    }
}
