//! Runs that start or end inside a handler's call.

use super::*;

type Slot<T> = Arc<Mutex<Option<T>>>;

/// Takes what a handler was given.
fn take<T>(slot: &Slot<T>) -> Result<T, HandlerError> {
    slot.lock().unwrap().take().ok_or_else(|| "it is taken".into())
}

on_every_runtime! {
    /// It keeps its parent and its root, and outlives both.
    async fn a_run_that_starts_inside_a_call_is_detached(rt) {
        let deliveries: [HandlerOptions; 3] =
            [HandlerOptions::new(), Pipelined::new(4).into(), Background::new(4).into()];
        for options in deliveries {
            let (log, children) = (Log::new(), Slot::<CallbackManager>::default());
            let started = Slot::<ChainRun>::default();
            let (parent, keeps) = (children.clone(), started.clone());
            let handler = handler_fn(move |event, _| {
                if is_text(event, "go") {
                    let start = ChainStart::new("inner", json!(0));
                    let run = block_on(take(&parent)?.on_chain_start(start))?;
                    *keeps.lock().unwrap() = Some(run);
                }
                Ok(())
            });
            let callbacks =
                rt.callbacks()
                    .with_handler_options(handler, options)
                    .with_handler(sync(log.clone()));
            let mut outer = chain(&callbacks, "outer").await;
            let id = outer.id();
            *children.lock().unwrap() = Some(outer.child());
            outer.on_text("go").await.unwrap();
            settled(&callbacks).await;
            outer.end(json!(1)).await.unwrap();
            let mut inner = take(&started).unwrap();
            assert_eq!((inner.info().parent_id(), inner.info().root_id()), (Some(id), id));
            inner.on_text("still here").await.unwrap();
            inner.end(json!(1)).await.unwrap();
            settled(&callbacks).await;
            assert_eq!(of(&log, "outer"), whole_run("outer", "go"));
            assert_eq!(of(&log, "inner"), whole_run("inner", "still here"));
        }
    }

    /// An async handler for a child's event ends the child's parent. The end is handed over, and
    /// comes after the child's, which comes after the event.
    async fn an_async_handler_may_end_the_parent_of_the_run_that_it_is_called_for(rt) {
        let (slot, log) = (Slot::<ChainRun>::default(), Log::new());
        let parent = slot.clone();
        let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if matches!(event, Event::LlmNewToken(_)) {
                yield_now().await;
                take(&parent)?.end(json!(1)).await?;
            }
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks.with_async_handler(handler).with_handler(sync(log.clone()));
        let parent = chain(&callbacks, "parent").await;
        let mut child = model(&parent.child(), "child").await;
        *slot.lock().unwrap() = Some(parent);
        // The run may be closed by the time that all have seen the token.
        let _ = child.on_llm_new_token("a").await;
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES);
        assert_eq!(log.lines(), [
            "parent: chain_start: 0", "child: llm_start: prompt", "child: token: a",
            "child: llm_error: cancelled: a", "parent: chain_end: 1",
        ]);
    }

    async fn a_sync_handler_may_end_the_parent_of_the_run_that_it_is_called_for(
        rt: with_blocking_threads
    ) {
        for how in [How::BlockOn, How::Wait] {
            for options in [HandlerOptions::new(), Pipelined::new(4).into()] {
                let (slot, log) = (Slot::<ChainRun>::default(), Log::new());
                let parent = slot.clone();
                let handler = handler_fn(move |event, _| {
                    if matches!(event, Event::LlmNewToken(_)) {
                        let end = take(&parent)?.end(json!(1));
                        match how {
                            How::BlockOn => block_on(end)?,
                            How::Wait => end.wait()?,
                        }
                    }
                    Ok(())
                });
                let (callbacks, failures) = reporting(rt.callbacks());
                let callbacks = callbacks
                    .with_handler_options(handler, options)
                    .with_handler(sync(log.clone()));
                let parent = chain(&callbacks, "parent").await;
                let mut child = model(&parent.child(), "child").await;
                *slot.lock().unwrap() = Some(parent);
                let _ = child.on_llm_new_token("a").await;
                settled(&callbacks).await;
                assert_eq!(causes(&failures), NO_FAILURES, "{how:?}");
                assert_eq!(log.lines(), [
                    "parent: chain_start: 0", "child: llm_start: prompt", "child: token: a",
                    "child: llm_error: cancelled: a", "parent: chain_end: 1",
                ], "{how:?}");
            }
        }
    }

    /// The parent is dropped inside the call instead.
    async fn a_handler_may_drop_the_parent_of_the_run_that_it_is_called_for(rt) {
        let (slot, log) = (Slot::<ChainRun>::default(), Log::new());
        let parent = slot.clone();
        let handler = handler_fn(move |event, _| {
            if matches!(event, Event::LlmNewToken(_)) {
                drop(take(&parent)?);
            }
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks.with_handler(handler).with_handler(sync(log.clone()));
        let parent = chain(&callbacks, "parent").await;
        let mut child = model(&parent.child(), "child").await;
        *slot.lock().unwrap() = Some(parent);
        let _ = child.on_llm_new_token("a").await;
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES);
        assert_eq!(log.lines(), [
            "parent: chain_start: 0", "child: llm_start: prompt", "child: token: a",
            "child: llm_error: cancelled: a", "parent: chain_error: cancelled",
        ]);
    }

    /// A run that a handler started in its call and dropped there is cancelled.
    async fn a_run_that_is_dropped_inside_a_call_has_its_end(rt) {
        let (own, log) = (Own::default(), Log::new());
        let emits = own.clone();
        let handler = handler_fn(move |event, _| {
            if is_text(event, "go") {
                let start = ChainStart::new("inner", json!(0));
                drop(block_on(emits.get()?.on_chain_start(start))?);
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(handler).with_handler(sync(log.clone()));
        own.set(&callbacks);
        let mut outer = chain(&callbacks, "outer").await;
        outer.on_text("go").await.unwrap();
        outer.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        let expected = ["inner: chain_start: 0", "inner: chain_error: cancelled"];
        assert_eq!(of(&log, "inner"), expected);
    }
}
