//! The emitter's current run is in force inside every handler's call, on whatever thread it is
//! made.

use futures_lite::future::block_on;

use super::watched::{ASYNC, SYNC};
use super::*;

fn sync_here(log: &Log) -> impl CallbackHandler + Send + use<> {
    let log = log.clone();
    handler_fn(move |event, _| {
        log.write(format!("{} in {}", event.kind(), here()));
        Ok(())
    })
}

fn async_here(log: &Log) -> impl AsyncCallbackHandler + use<> {
    let log = log.clone();
    async_handler_fn(async move |event: &Event, _: &EventContext| {
        yield_now().await;
        log.write(format!("{} in {}", event.kind(), here()));
        Ok(())
    })
}

on_every_runtime! {
    async fn the_emitters_run_is_current_inside_every_call(rt) {
        let log = Log::new();
        let mut callbacks = rt.callbacks();
        for (_, options) in SYNC {
            callbacks = callbacks.with_handler_options(sync_here(&log), options());
        }
        for (_, options) in ASYNC {
            callbacks = callbacks.with_async_handler_options(async_here(&log), options());
        }
        let handlers = SYNC.len() + ASYNC.len();
        let emit = async { streamed(current(), "model".into(), 1).await };
        emit.in_chain(&callbacks, "chain", 0).await.unwrap();
        callbacks.flush().await.unwrap();
        let lines = log.lines();
        for event in [
            "on_chain_start in nowhere", "on_llm_start in chain", "on_llm_new_token in chain",
            "on_llm_end in chain", "on_chain_end in nowhere",
        ] {
            let seen = lines.iter().filter(|line| *line == event).count();
            assert_eq!(seen, handlers, "{event}: {lines:?}");
        }
        assert_eq!(lines.len(), 5 * handlers);
    }

    /// A handler that calls a model itself: the model's run is below the run that its event was
    /// emitted in.
    async fn a_sync_handler_on_another_thread_finds_its_parent(rt) {
        let log = Log::new();
        let writes = log.clone();
        let calls_a_model = handler_fn(move |event, cx| {
            if matches!(event, Event::Text(_)) {
                let current = CallbackManager::current().ok_or("no run")?;
                block_on(streamed(current, "inner".into(), 0))?;
            }
            let place = if cx.parent_id().is_some() { "below" } else { "top" };
            writes.write(format!("{} {} {place}", cx.name(), event.kind()));
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(calls_a_model);
        let body = async {
            let mut chain = chain(&current(), "step").await;
            chain.on_text("call").await?;
            chain.end(json!(1)).await?;
            Ok::<_, RunError>(())
        };
        body.in_chain(&callbacks, "chain", 0).await.unwrap();
        settled(&callbacks).await;
        let mut lines = log.lines();
        lines.sort();
        assert_eq!(lines, [
            "chain on_chain_end top", "chain on_chain_start top",
            "inner on_llm_end below", "inner on_llm_start below",
            "step on_chain_end below", "step on_chain_start below", "step on_text below",
        ]);
    }

    /// One handler is called for events of many runs, in any order.
    async fn calls_for_different_runs_do_not_see_each_others_run(rt) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let handler = handler_fn(move |event, cx| {
            if matches!(event, Event::LlmNewToken(_)) {
                kept.lock().unwrap().push((cx.name().to_owned(), here()));
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(4));
        let chains = (0..10).map(|number| {
            let body = async move { streamed(current(), format!("model {number}"), 5).await };
            rt.go(body.in_chain(&callbacks, format!("chain {number}"), 0))
        });
        for chain in futures_util::future::join_all(chains).await {
            chain.unwrap();
        }
        callbacks.flush().await.unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 50);
        for (model, run) in &*seen {
            assert_eq!(model.strip_prefix("model "), run.strip_prefix("chain "));
        }
    }
}
