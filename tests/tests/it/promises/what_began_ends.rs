//! 7. A call that began runs to its end, also when the emitter was dropped meanwhile.

use futures_lite::future::poll_once;
use rappel_tests::held::held_async;
use rappel_tests::on_every_runtime;

use super::*;

on_every_runtime! {
    /// The emitter is gone in the middle of the call; the call is not.
    async fn wherever_it_is_made(rt) {
        let options = [
            HandlerOptions::new(),
            HandlerOptions::new().on_runtime(),
        ];
        for options in options {
            let ended = Log::new();
            let (handler, mut grip) = held_async();
            let writes = ended.clone();
            let whole = Whole(handler, writes);
            let callbacks = rt.callbacks().with_async_handler_options(whole, options);
            let mut start = callbacks.on_chain_start(ChainStart::new("run", json!(0)));
            assert!(poll_once(&mut start).await.is_none());
            drop(start);
            assert_eq!(grip.entered().await, "run chain_start: 0");
            assert_eq!(ended.lines(), Vec::<String>::new());
            grip.let_go();
            // The call ends, and only then the cancellation begins.
            assert_eq!(grip.entered().await, "run chain_error: cancelled");
            assert_eq!(ended.lines(), ["chain_start: 0"]);
            grip.let_go();
            callbacks.flush().await;
            assert_eq!(ended.lines(), ["chain_start: 0", "chain_error: cancelled"]);
        }
    }
}

/// Writes when a call of the handler inside has come to its end.
struct Whole(rappel_tests::held::HeldAsync, Log);

impl AsyncCallbackHandler for Whole {
    fn on_event<'a>(&'a self, event: &'a Event, run: &'a RunInfo) -> rappel_core::HandlerFuture<'a> {
        rappel_core::HandlerFuture::new(async move {
            self.0.on_event(event, run).await?;
            self.1.write(line(event));
            Ok(())
        })
    }
}
