//! Several sync handlers on one manager, each of which emits in its call. (Fault 1: two of them
//! waited for each other for ever.)

use super::*;

/// What a handler emits in its call.
#[derive(Debug, Clone, Copy, PartialEq)]
enum What {
    Custom,
    Run,
}

fn deliveries() -> [HandlerOptions; 3] {
    [HandlerOptions::new(), Pipelined::new(8).into(), Background::new(8).into()]
}

/// A handler that emits when the outer run starts.
fn emitting(
    log: &Log,
    own: &Own,
    number: usize,
    what: What,
    how: How,
) -> impl CallbackHandler + Send + use<> {
    let (log, own) = (log.clone(), own.clone());
    handler_fn(move |event, cx| {
        if matches!(event, Event::LlmStart(_)) {
            match what {
                What::Custom => emit_custom(own.get()?, how)?,
                What::Run => emit_run(own.get()?, &format!("nested {number}"), "inside", how)?,
            }
        }
        log.write(format!("{}: {}", cx.name(), line(event)));
        Ok(())
    })
}

/// So many handlers of each delivery emit in their calls for one run.
async fn all_emit(callbacks: CallbackManager, handlers: usize, what: What, how: How) {
    for options in deliveries() {
        let own = Own::default();
        let (mut callbacks, failures) = reporting(callbacks.clone());
        let mut logs = Vec::new();
        for number in 0..handlers {
            let log = Log::new();
            let handler = emitting(&log, &own, number, what, how);
            callbacks = callbacks.with_handler_options(handler, options.clone());
            logs.push(log);
        }
        own.set(&callbacks);
        streamed(callbacks.clone(), "outer".into(), 1).await.unwrap();
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES, "{what:?}, {how:?}");
        for log in logs {
            let outer = ["llm_start: prompt", "token: 0 ", "llm_end: all"];
            assert_eq!(of(&log, "outer"), outer.map(|line| format!("outer: {line}")));
            match what {
                What::Custom => assert_eq!(of(&log, "note").len(), handlers),
                What::Run => {
                    for number in 0..handlers {
                        let name = format!("nested {number}");
                        assert_eq!(of(&log, &name), whole_run(&name, "inside"));
                    }
                }
            }
        }
    }
}

async fn all_emit_everything(callbacks: impl Fn() -> CallbackManager, handlers: usize, how: How) {
    for what in [What::Custom, What::Run] {
        all_emit(callbacks(), handlers, what, how).await;
    }
}

on_every_runtime! {
    async fn two_sync_handlers_that_block_on_what_they_emit(rt) {
        all_emit_everything(|| rt.callbacks(), 2, How::BlockOn).await;
    }

    async fn two_sync_handlers_that_wait_for_what_they_emit(rt: with_blocking_threads) {
        all_emit_everything(|| rt.callbacks(), 2, How::Wait).await;
    }

    async fn three_sync_handlers_that_block_on_what_they_emit(rt) {
        all_emit_everything(|| rt.callbacks(), 3, How::BlockOn).await;
    }

    async fn three_sync_handlers_that_wait_for_what_they_emit(rt: with_blocking_threads) {
        all_emit_everything(|| rt.callbacks(), 3, How::Wait).await;
    }

    async fn sync_handlers_that_emit_on_one_blocking_thread(rt) {
        let stage = Stage::with_one_blocking_thread(&rt);
        for how in [How::BlockOn, How::Wait] {
            all_emit_everything(|| stage.callbacks(), 3, how).await;
        }
    }

    /// An async handler stands between them, which is awaited in each call.
    async fn sync_handlers_that_emit_to_an_async_handler_as_well(rt: with_blocking_threads) {
        for how in [How::BlockOn, How::Wait] {
            let log = Log::new();
            let callbacks = rt.callbacks().with_async_handler(asynchronous(log.clone()));
            all_emit(callbacks, 2, What::Run, how).await;
            // Three deliveries, each with two nested runs and the outer one.
            assert_eq!(log.lines().len(), 3 * (2 * 3 + 3));
        }
    }

    /// Handlers that emit when a child starts, on tasks side by side.
    async fn many_runs_side_by_side_whose_handlers_emit(rt) {
        let own = Own::default();
        let (a, b) = (Log::new(), Log::new());
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks
            .with_handler(emitting(&a, &own, 0, What::Custom, How::BlockOn))
            .with_handler(emitting(&b, &own, 1, What::Custom, How::BlockOn));
        own.set(&callbacks);
        let runs = (0..50).map(|run| rt.go(streamed(callbacks.clone(), format!("run {run}"), 2)));
        let runs = futures_util::future::join_all(runs).await;
        runs.into_iter().for_each(Result::unwrap);
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES);
        for (log, stats) in [&a, &b].into_iter().zip(callbacks.stats()) {
            // A lane takes a limited number of custom events from inside calls.
            let refused = stats.dropped + stats.refused_runs;
            assert_eq!(log.lines().len() + refused, 50 * 4 + 2 * 50, "{stats:?}");
            for run in 0..50 {
                assert_eq!(of(log, &format!("run {run}")).len(), 4);
            }
        }
    }
}
