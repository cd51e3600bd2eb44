//! The ids of an event: its run, that run's parent, and the root.

use rappel_core::CustomEvent;

use super::*;

on_every_runtime! {
    async fn every_event_has_its_run_its_parent_its_root_and_its_tags(rt) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let handler = handler_fn(move |_, cx| {
            let ids = (cx.id(), cx.parent_id(), cx.root_id());
            kept.lock().unwrap().push((cx.name().to_owned(), ids, cx.tags().to_vec()));
            Ok(())
        });
        let callbacks =
            rt.callbacks().with_handler(handler).with_inheritable_tags(["all"]);
        let outer = chain(&callbacks, "outer").await;
        let inner = tool(&outer.child().with_tags(["step"]), "inner").await;
        let mut innermost = model(&inner.child(), "innermost").await;
        innermost.on_llm_new_token("a").await.unwrap();
        let ids = [outer.id(), inner.id(), innermost.id()];
        let info = innermost.info();
        assert_eq!((info.parent_id(), info.root_id()), (Some(ids[1]), ids[0]));
        innermost.end("a").await.unwrap();
        inner.end("out").await.unwrap();
        outer.end(json!(1)).await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 7);
        for (name, of_event, tags) in &*seen {
            let (expected, expected_tags) = match name.as_str() {
                "outer" => ((ids[0], None, ids[0]), "all"),
                "inner" => ((ids[1], Some(ids[0]), ids[0]), "all step"),
                _ => ((ids[2], Some(ids[1]), ids[0]), "all"),
            };
            assert_eq!((of_event, &*tags.join(" ")), (&expected, expected_tags), "{name}");
        }
    }

    /// Two open runs never share an id. The second start has not happened.
    async fn an_id_that_an_open_run_has_is_refused(rt) {
        let log = Log::new();
        let callbacks = rt.callbacks().with_handler(log.handler());
        let id = RunId::from_bytes([7; 16]);
        let start = |name: &str|
            callbacks.on_chain_start(ChainStart::new(name, json!(0)).with_run_id(id));
        let mut first = start("first").await.unwrap();
        assert_eq!(first.id(), id);
        let error = start("second").await.unwrap_err();
        assert!(matches!(error, EmitError::DuplicateRunId), "{error}");
        first.on_text("goes on").await.unwrap();
        first.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        // A run that has ended leaves its id.
        start("third").await.unwrap().end(json!(3)).await.unwrap();
        assert_eq!(log.lines(), [
            "chain_start: 0", "text: goes on", "chain_end: 1", "chain_start: 0", "chain_end: 3",
        ]);
    }

    /// Of two starts side by side with one id, one is refused.
    async fn of_two_starts_with_one_id_one_is_refused(rt) {
        let callbacks = rt.callbacks().with_async_handler(asynchronous(Log::new()));
        let id = RunId::from_bytes([8; 16]);
        let start = || callbacks.on_tool_start(ToolStart::new("tool", "input").with_run_id(id));
        let (one, two) = futures_util::future::join(start(), start()).await;
        let refused = [&one, &two].map(|run| matches!(run, Err(EmitError::DuplicateRunId)));
        assert_eq!(refused.iter().filter(|refused| **refused).count(), 1);
        drop((one, two));
        callbacks.flush().await.unwrap();
        assert_eq!(callbacks.stats()[0].handled, 2);
    }

    /// A custom event on a manager without a run has an id of its own and no number.
    async fn a_custom_event_outside_of_any_run_has_an_id_and_no_number(rt) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let callbacks = rt.callbacks().with_handler(handler_fn(move |_, cx| {
            kept.lock().unwrap().push((cx.parent_id(), cx.sequence()));
            Ok(())
        }));
        callbacks.on_custom_event(CustomEvent::new("note", json!(0))).await.unwrap();
        assert_eq!(*seen.lock().unwrap(), [(None, None)]);
    }
}
