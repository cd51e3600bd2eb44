//! 1. Order: a handler sees a run's events in the order of emission: start first, exactly one end or error last, nothing after.

use futures_util::future::join_all;
use rappel_core::Interest;
use rappel_tests::on_every_runtime;

use super::*;

on_every_runtime! {
    async fn in_every_delivery_over_many_runs(rt) {
        let watched = Watched::new(&rt);
        let runs = (0..20).map(|run| rt.go(streamed(watched.callbacks.clone(), format!("run {run}"), 30)));
        join_all(runs).await.into_iter().for_each(Result::unwrap);
        watched.callbacks.flush().await;
        for run in 0..20 {
            for (handler, lines) in watched.of(&format!("run {run}")) {
                assert_eq!(lines, whole(30), "{handler}");
            }
        }
    }

    /// The end of a run is behind all of its tokens, and `end().await` behind the handler's last call.
    async fn an_end_comes_back_when_pipelined_handlers_have_handled_it(rt) {
        let watched = Watched::new(&rt);
        for run in 0..20 {
            let name = format!("run {run}");
            streamed(watched.callbacks.clone(), name.clone(), 10).await.unwrap();
            // No flush: those in the background may lag behind, the others not.
            for (handler, lines) in watched.of(&name).into_iter().filter(|(name, _)| !name.contains("background")) {
                assert_eq!(lines, whole(10), "{handler}");
            }
        }
    }

    async fn every_event_has_its_number(rt) {
        let numbers = Arc::new(Mutex::new(Vec::new()));
        let kept = numbers.clone();
        let handler = handler_fn(move |event, _| { kept.lock().unwrap().push(event.sequence()); Ok(()) });
        let callbacks = rt.callbacks().with_handler_options(handler, HandlerOptions::new().delivery(Pipelined { capacity: 2 }));
        streamed(callbacks, "run".into(), 20).await.unwrap();
        assert_eq!(*numbers.lock().unwrap(), (0..22).collect::<Vec<u64>>());
    }

    /// A handler that wants tokens only has a mailbox from the first one to the run's end, and not for longer.
    async fn for_a_handler_that_wants_neither_start_nor_end(rt) {
        struct Tokens(Log);

        impl CallbackHandler for Tokens {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::LlmNewToken)
            }

            fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &RunInfo) -> HandlerResult {
                self.0.write(token.token.as_str());
                Ok(())
            }
        }

        let log = Log::new();
        let options = HandlerOptions::new().delivery(Pipelined { capacity: 2 });
        let callbacks = rt.callbacks().with_handler_options(Tokens(log.clone()), options);
        for run in 1..=10 {
            streamed(callbacks.clone(), format!("run {run}"), 3).await.unwrap();
            // The run's end waits for its tokens all the same.
            assert_eq!(log.lines(), ["0 ", "1 ", "2 "].repeat(run));
            assert_eq!(callbacks.stats()[0].open_runs, 0);
        }
    }
}
