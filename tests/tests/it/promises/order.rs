//! Promise 1: a handler sees a run's events in the order of emission: the start first, exactly one
//! end or error last, and nothing after it.

use futures_util::future::join_all;
use rappel_core::CustomEvent;
use rappel_tests::on_every_runtime;

use super::*;

on_every_runtime! {
    async fn events_are_in_order_in_every_delivery_over_many_runs(rt) {
        let watched = Watched::new(&rt);
        let run = |run| streamed(watched.callbacks.clone(), format!("run {run}"), 30);
        join_all((0..20).map(|number| rt.go(run(number))))
            .await
            .into_iter()
            .for_each(Result::unwrap);
        watched.callbacks.flush().await.unwrap();
        for run in 0..20 {
            for (handler, lines) in watched.of(&format!("run {run}")) {
                assert_eq!(lines, whole(30), "{handler}");
            }
        }
    }

    /// The end of a run is behind all of its tokens, and `end` returns behind the handler's last
    /// call.
    async fn an_end_returns_when_pipelined_handlers_have_handled_it(rt) {
        let watched = Watched::new(&rt);
        for run in 0..20 {
            let name = format!("run {run}");
            streamed(watched.callbacks.clone(), name.clone(), 10).await.unwrap();
            // There is no flush: handlers in the background may be late, the others may not.
            let seen = watched.of(&name).into_iter();
            for (handler, lines) in seen.filter(|(name, _)| !name.contains("background")) {
                assert_eq!(lines, whole(10), "{handler}");
            }
        }
    }

    async fn every_event_of_a_run_has_its_number(rt) {
        let numbers = Arc::new(Mutex::new(Vec::new()));
        let kept = numbers.clone();
        let handler = handler_fn(move |_, cx| {
            kept.lock().unwrap().push(cx.sequence());
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(2));
        streamed(callbacks, "run".into(), 20).await.unwrap();
        assert_eq!(*numbers.lock().unwrap(), (0..22).map(Some).collect::<Vec<Option<u64>>>());
    }

    /// It has the run's id and no number, and is handled between the events that it was emitted
    /// between.
    async fn a_custom_event_on_a_runs_manager_stands_in_the_order_of_the_trace(rt) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let watched = Watched::on(rt.callbacks().with_handler(handler_fn(move |_, cx| {
            kept.lock().unwrap().push((cx.id(), cx.sequence()));
            Ok(())
        })));
        let mut run = chain(&watched.callbacks, "chain").await;
        let id = run.id();
        run.on_text("a").await.unwrap();
        run.child().on_custom_event(CustomEvent::new("note", json!(0))).await.unwrap();
        run.on_text("b").await.unwrap();
        run.end(json!(1)).await.unwrap();
        watched.callbacks.flush().await.unwrap();
        watched.assert_all_saw(&[
            "chain: chain_start: 0", "chain: text: a", "note: custom_event: note",
            "chain: text: b", "chain: chain_end: 1",
        ]);
        let numbers = [Some(0), Some(1), None, Some(2), Some(3)].map(|number| (id, number));
        assert_eq!(*seen.lock().unwrap(), numbers);
    }

    /// Its mailbox exists from the first token to the run's end, and not for longer.
    async fn a_handler_that_wants_neither_start_nor_end_sees_all_tokens_before_the_end(rt) {
        struct Tokens(Log);

        impl CallbackHandler for Tokens {
            fn interest(&self) -> Interest {
                Interest::only(EventKind::LlmNewToken)
            }

            fn on_llm_new_token(&mut self, token: &LlmNewToken, _: &EventContext) -> HandlerResult {
                self.0.write(token.token.as_str());
                Ok(())
            }
        }

        let log = Log::new();
        let handler = Tokens(log.clone());
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(2));
        for run in 1..=10 {
            streamed(callbacks.clone(), format!("run {run}"), 3).await.unwrap();
            assert_eq!(log.lines(), ["0 ", "1 ", "2 "].repeat(run));
            assert_eq!(callbacks.stats()[0].open_runs, 0);
        }
    }

    /// What a run emits after its end has not happened, and its handlers see nothing of it.
    async fn a_run_that_was_closed_emits_nothing_more(rt) {
        let watched = Watched::new(&rt);
        let parent = chain(&watched.callbacks, "parent").await;
        let mut child = model(&parent.child(), "child").await;
        parent.end(json!(1)).await.unwrap();
        assert!(matches!(child.on_llm_new_token("a").await, Err(EmitError::RunClosed)));
        assert!(matches!(child.end("a").await, Err(EmitError::RunClosed)));
        watched.callbacks.flush().await.unwrap();
        for (handler, lines) in watched.of("child") {
            assert_eq!(lines, ["llm_start: prompt", "llm_error: cancelled: "], "{handler}");
        }
    }
}
