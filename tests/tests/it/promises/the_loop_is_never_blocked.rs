//! 2. The loop is never blocked by a sync handler (unless it asked to be inline).

use std::sync::mpsc::{Receiver, channel};

use futures_lite::future::yield_now;
use rappel_tests::held::held;
use rappel_tests::on_every_runtime;

use super::*;

/// Blocks its thread in every call until the test says go.
struct Blocking(Receiver<()>);

impl CallbackHandler for Blocking {
    fn on_event(&mut self, _: &Event, _: &RunInfo) -> HandlerResult {
        self.0.recv()?;
        Ok(())
    }
}

on_every_runtime! {
    /// The handlers block until a task on the same loop has made progress: were one on the loop, nothing would ever move again.
    async fn whatever_the_delivery(rt: with_blocking_threads) {
        let blocking = || channel::<()>();
        let ((go_1, one), (go_2, two), (go_3, three)) = (blocking(), blocking(), blocking());
        let options = HandlerOptions::new;
        let callbacks = rt.callbacks()
            .with_handler(Blocking(one))
            .with_handler_options(Blocking(two), options().delivery(Pipelined { capacity: 1 }))
            .with_handler_options(
                Blocking(three),
                options().delivery(Background { capacity: 1, open_runs: 1 }).overflow(Overflow::Wait),
            );
        let ticker = rt.go(async move {
            for _ in 0..12 {
                for _ in 0..10 {
                    yield_now().await;
                }
                for go in [&go_1, &go_2, &go_3] {
                    go.send(()).unwrap();
                }
            }
        });
        streamed(callbacks.clone(), "run".into(), 10).await.unwrap();
        ticker.await;
        callbacks.flush().await;
    }

    /// Emitting goes on while a pipelined handler is in a call.
    async fn a_pipelined_handler_that_hangs_does_not_stop_its_emitter(rt: with_blocking_threads) {
        let (handler, mut grip) = held();
        let callbacks = rt.callbacks().with_handler_options(handler, HandlerOptions::new().delivery(Pipelined { capacity: 3 }));
        let run = callbacks.on_llm_start(LlmStart::new("run", "prompt")).await.unwrap();
        assert_eq!(grip.entered().await, "run llm_start: prompt");
        for token in ["a", "b", "c"] {
            run.on_llm_new_token(token).await.unwrap();
        }
        drop(run);
        assert_eq!(callbacks.stats()[0].handled, 0);
        let flushed = callbacks.flush();
        drop(callbacks);
        let rest = grip.open();
        flushed.await;
        assert_eq!(rest.await, ["run token: a", "run token: b", "run token: c", "run llm_error: cancelled: abc"]);
    }
}
