//! Emits and starts that are leaked or dropped while no handler wants to hear of the end of their
//! run: their calls come to an end all the same.

use futures_channel::oneshot::Sender;

use super::dropped_emitters::{Three, WHOLE, YIELDS};
use super::*;

/// Wants starts and texts, and no end. Its calls wait until the gate is dropped.
struct Quiet<H> {
    gate: H,
    log: Log,
}

fn quiet() -> (Quiet<impl AsyncCallbackHandler>, Sender<()>, Log) {
    let ((gate, opens), log) = (gated(|_| true), Log::new());
    (Quiet { gate, log: log.clone() }, opens, log)
}

impl<H: AsyncCallbackHandler> AsyncCallbackHandler for Quiet<H> {
    fn interest(&self) -> Interest {
        Interest::only(EventKind::ChainStart).with(EventKind::Text)
    }

    async fn on_chain_start(&self, start: &ChainStart, cx: &EventContext) -> HandlerResult {
        self.gate.on_event(&start.clone().into(), cx).await?;
        self.log.write("start");
        Ok(())
    }

    async fn on_text(&self, text: &Text, cx: &EventContext) -> HandlerResult {
        self.gate.on_event(&text.clone().into(), cx).await?;
        self.log.write("text");
        Ok(())
    }
}

on_every_runtime! {
    /// The emit is leaked after k polls. The run itself goes on, and ends.
    async fn an_emit_that_is_leaked_at_any_poll_is_handled_before_the_next_one(rt) {
        for polls in 0..=YIELDS + 1 {
            let three = Three::new(&rt);
            let mut chain = chain(&three.callbacks, "chain").await;
            let mut emit = chain.on_text("a");
            for _ in 0..polls {
                if poll_once(&mut emit).await.is_some() {
                    break;
                }
            }
            std::mem::forget(emit);
            chain.on_text("b").await.unwrap();
            chain.end(json!(1)).await.unwrap();
            let expected = WHOLE.into_iter().filter(|line| polls > 0 || *line != "text: a");
            assert_eq!(three.assert_whole().await, expected.collect::<Vec<_>>(), "{polls} polls");
        }
    }

    /// The leaked call is polled to its end although no handler wants to hear of the run's end.
    async fn a_leaked_emit_of_a_run_that_is_dropped_is_handled(rt) {
        struct Texts(Log);

        impl AsyncCallbackHandler for Texts {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::Text)
            }

            async fn on_text(&self, _: &Text, _: &EventContext) -> HandlerResult {
                self.0.write("begins");
                yield_now().await;
                self.0.write("ends");
                Ok(())
            }
        }

        let log = Log::new();
        let callbacks = rt.callbacks().with_async_handler(Texts(log.clone()));
        let mut chain = chain(&callbacks, "chain").await;
        let mut emit = chain.on_text("a");
        assert!(poll_once(&mut emit).await.is_none());
        std::mem::forget(emit);
        drop(chain);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["begins", "ends"]);
    }

    /// The start is handed over and its run is given up, both in one drop.
    async fn a_start_that_is_dropped_while_no_handler_wants_its_end_is_handled(rt) {
        let (handler, gate, log) = quiet();
        let callbacks = rt.callbacks().with_async_handler(handler);
        let mut start = callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
        assert!(poll_once(&mut start).await.is_none());
        drop(start);
        // The tasks that the drop spawned wait for the call, and are woken together.
        for _ in 0..YIELDS {
            yield_now().await;
        }
        drop(gate);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["start"]);
        rt.go(yield_now()).await;
    }

    /// A shutdown closes a run whose emitter is still there, and waits for its event.
    async fn a_start_beside_a_shutdown_is_handled_while_no_handler_wants_its_end(rt) {
        let (handler, gate, log) = quiet();
        let callbacks = rt.callbacks().with_async_handler(handler);
        let mut start = callbacks.on_chain_start(ChainStart::new("chain", json!(0)));
        assert!(poll_once(&mut start).await.is_none());
        callbacks.shutdown(Duration::ZERO).await.unwrap();
        for _ in 0..YIELDS {
            yield_now().await;
        }
        drop(gate);
        callbacks.flush().await.unwrap();
        // Its run is closed by now; the future comes to an end.
        drop(start.await);
        assert_eq!(log.lines(), ["start"]);
    }
}
