//! A handler with a lane raises an error for an event that was emitted inside a call. That emit does
//! not wait for it, so the run keeps the failure for its next emit or its end.

use super::*;

type Slot = Arc<Mutex<Option<ChainRun>>>;

/// A handler that starts a run in its call for the text "go", emits the text "bad" on it, and
/// keeps it; beside one that raises an error for that text.
async fn with_a_failed_run(rt: &Rt) -> (CallbackManager, ChainRun) {
    let (own, slot) = (Own::default(), Slot::default());
    let (emits, keeps) = (own.clone(), slot.clone());
    let (emitted, is_emitted) = std::sync::mpsc::channel::<()>();
    let emitter = handler_fn(move |event, _| {
        if is_text(event, "go") {
            block_on(async {
                let start = ChainStart::new("inner", json!(0));
                let mut run = emits.get()?.on_chain_start(start).await?;
                // It is queued, and not waited for.
                run.on_text("bad").await?;
                emitted.send(())?;
                *keeps.lock().unwrap() = Some(run);
                Ok::<_, HandlerError>(())
            })?;
        }
        Ok(())
    });
    let gate = handler_fn(move |event, _| match event {
        Event::Text(text) if text.text == "bad" => {
            // It fails when the emit has returned.
            is_emitted.recv()?;
            Err("bad".into())
        }
        _ => Ok(()),
    });
    let (callbacks, _) = reporting(rt.callbacks());
    let raising = HandlerOptions::new().name("gate").delivery(Awaited::new().raise_error());
    let callbacks = callbacks.with_handler(emitter).with_handler_options(gate, raising);
    own.set(&callbacks);
    let mut outer = chain(&callbacks, "outer").await;
    outer.on_text("go").await.unwrap();
    settled(&callbacks).await;
    outer.end(json!(1)).await.unwrap();
    let run = slot.lock().unwrap().take().unwrap();
    (callbacks, run)
}

fn assert_raised(error: &EmitError) {
    let EmitError::Raised(failure) = error else { panic!("{error}") };
    assert_eq!((&*failure.handler, failure.event), ("gate", EventKind::Text));
}

on_every_runtime! {
    async fn a_failure_of_a_nested_emit_comes_back_at_the_next_emit(rt) {
        let (callbacks, mut run) = with_a_failed_run(&rt).await;
        assert_raised(&run.on_text("next").await.unwrap_err());
        // It comes back once.
        run.on_text("good").await.unwrap();
        run.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
    }

    async fn a_failure_of_a_nested_emit_comes_back_at_the_end(rt) {
        let (callbacks, run) = with_a_failed_run(&rt).await;
        assert_raised(&run.end(json!(1)).await.unwrap_err());
        callbacks.flush().await.unwrap();
    }

    /// An async handler is awaited where the emit is polled, so its failure comes back at once.
    async fn a_failure_of_an_async_handler_comes_back_inside_the_call(rt) {
        let (own, seen) = (Own::default(), Log::new());
        let (emits, writes) = (own.clone(), seen.clone());
        let emitter = handler_fn(move |event, _| {
            if is_text(event, "go") {
                let start = ChainStart::new("inner", json!(0));
                let mut run = block_on(emits.get()?.on_chain_start(start))?;
                assert_raised(&block_on(run.on_text("bad")).unwrap_err());
                writes.write("raised");
            }
            Ok(())
        });
        let gate = async_handler_fn(async |event: &Event, _: &EventContext| {
            yield_now().await;
            if is_text(event, "bad") { Err("bad".into()) } else { Ok(()) }
        });
        let (callbacks, failures) = reporting(rt.callbacks());
        let raising = HandlerOptions::new().name("gate").delivery(Awaited::new().raise_error());
        let callbacks = callbacks.with_handler(emitter).with_async_handler_options(gate, raising);
        own.set(&callbacks);
        let mut outer = chain(&callbacks, "outer").await;
        outer.on_text("go").await.unwrap();
        outer.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        assert_eq!(causes(&failures), ["on_text: bad"]);
        assert_eq!(seen.lines(), ["raised"]);
    }
}
