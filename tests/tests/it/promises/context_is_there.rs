//! 12. Context: every event carries run, parent and root; nested calls find their parent without passing it, also inside a sync handler on another
//!     thread; and the emitter's current run is in force inside every handler's call.

use futures_lite::future::block_on;
use rappel_tests::on_every_runtime;

use super::*;

fn here() -> String {
    RunInfo::current().map_or("nowhere".to_owned(), |run| run.name().to_owned())
}

on_every_runtime! {
    async fn inside_every_call_wherever_it_is_made(rt) {
        let log = Log::new();
        let (sync_log, async_log) = (log.clone(), log.clone());
        let sync = move || {
            let log = sync_log.clone();
            handler_fn(move |event, _| { log.write(format!("{} in {}", event.kind(), here())); Ok(()) })
        };
        let asynchronous = move || {
            let log = async_log.clone();
            async_handler_fn(move |event, _| {
                let (log, kind) = (log.clone(), event.kind());
                async move {
                    futures_lite::future::yield_now().await;
                    log.write(format!("{kind} in {}", here()));
                    Ok(())
                }
            })
        };
        let options = HandlerOptions::new;
        let pipelined = || options().delivery(Pipelined { capacity: 2 });
        let callbacks = rt.callbacks()
            .with_handler(sync())
            .with_handler_options(sync(), options().run_inline(true))
            .with_handler_options(sync(), pipelined())
            .with_async_handler(asynchronous())
            .with_async_handler_options(asynchronous(), options().on_runtime())
            .with_async_handler_options(asynchronous(), pipelined());
        let emit = async {
            let inner = CallbackManager::current().unwrap();
            streamed(inner, "model".into(), 1).await?;
            Ok::<_, RunError>(())
        };
        emit.in_chain(&callbacks, "chain", 0).await.unwrap();
        callbacks.flush().await;
        let lines = log.lines();
        for event in ["on_llm_start in chain", "on_llm_new_token in chain", "on_llm_end in chain", "on_chain_start in nowhere", "on_chain_end in nowhere"] {
            assert_eq!(lines.iter().filter(|line| *line == event).count(), 6, "{event}: {lines:?}");
        }
        assert_eq!(lines.len(), 30);
    }

    /// A handler that calls a model itself: the model's run hangs under the run that its event came from.
    async fn a_sync_handler_on_another_thread_finds_its_parent(rt) {
        let log = Log::new();
        let writes = log.clone();
        let calls_a_model = handler_fn(move |event, run| {
            if matches!(event, Event::Text(_)) {
                let current = CallbackManager::current().ok_or_else(|| HandlerError::new("no run"))?;
                block_on(streamed(current, "inner".into(), 0))?;
            }
            writes.write(format!("{} {} under {}", run.name(), event.kind(), run.parent_id().is_some()));
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(calls_a_model);
        let body = async {
            let chain = chain(&CallbackManager::current().unwrap(), "step").await;
            chain.on_text("call").await?;
            chain.end(json!(1)).await?;
            Ok::<_, RunError>(())
        };
        body.in_chain(&callbacks, "chain", 0).await.unwrap();
        callbacks.flush().await;
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, [
            "chain on_chain_end under false", "chain on_chain_start under false",
            "inner on_llm_end under true", "inner on_llm_start under true",
            "step on_chain_end under true", "step on_chain_start under true", "step on_text under true",
        ]);
    }
}
