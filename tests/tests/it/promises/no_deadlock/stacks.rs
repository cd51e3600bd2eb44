//! No handler is ever called on the stack of another sync handler. (Fault 2.)

use std::cell::Cell;

use rappel_tokio::Tokio;

use super::*;

thread_local! {
    /// How many calls of these handlers are on this thread's stack.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Is in a call while it lives.
struct InCall;

impl InCall {
    fn enter() -> Result<Self, HandlerError> {
        let depth = DEPTH.get();
        DEPTH.set(depth + 1);
        let call = Self;
        if depth == 0 { Ok(call) } else { Err("a call on the stack of another one".into()) }
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Emits in its call for an outer run's start. No other call may be on its stack.
fn emitting(own: &Own, how: How) -> impl CallbackHandler + Send + use<> {
    let own = own.clone();
    handler_fn(move |event, _| {
        let _in_call = InCall::enter()?;
        if matches!(event, Event::LlmStart(_)) {
            emit_custom(own.get()?, how)?;
        }
        Ok(())
    })
}

async fn outer_runs(rt: &Rt, callbacks: &CallbackManager, runs: usize) {
    let runs = (0..runs).map(|_| rt.go(streamed(callbacks.clone(), "outer".into(), 1)));
    futures_util::future::join_all(runs).await.into_iter().for_each(Result::unwrap);
    settled(callbacks).await;
}

on_every_runtime! {
    async fn a_handler_that_blocks_on_its_emit_has_no_other_call_on_its_stack(rt) {
        let own = Own::default();
        let (mut callbacks, failures) = reporting(rt.callbacks());
        for options in [HandlerOptions::new(), Pipelined::new(8).into(), Background::new(8).into()] {
            callbacks = callbacks.with_handler_options(emitting(&own, How::BlockOn), options);
        }
        own.set(&callbacks);
        outer_runs(&rt, &callbacks, 100).await;
        assert_eq!(causes(&failures), NO_FAILURES);
    }

    async fn a_handler_that_waits_for_its_emit_has_no_other_call_on_its_stack(
        rt: with_blocking_threads
    ) {
        let own = Own::default();
        let (mut callbacks, failures) = reporting(rt.callbacks());
        for options in [HandlerOptions::new(), Pipelined::new(8).into(), Background::new(8).into()] {
            callbacks = callbacks.with_handler_options(emitting(&own, How::Wait), options);
        }
        own.set(&callbacks);
        outer_runs(&rt, &callbacks, 100).await;
        assert_eq!(causes(&failures), NO_FAILURES);
    }

    /// An inline handler is called on the emitter's stack, unless that is in a call.
    async fn an_inline_handler_is_not_called_on_the_stack_of_a_sync_call(rt) {
        let own = Own::default();
        let (callbacks, failures) = reporting(rt.callbacks());
        let inline = Awaited::new().inline();
        let callbacks = callbacks
            .with_handler(emitting(&own, How::BlockOn))
            .with_handler_options(emitting(&own, How::BlockOn), inline)
            .with_handler_options(emitting(&own, How::BlockOn), inline);
        own.set(&callbacks);
        outer_runs(&rt, &callbacks, 20).await;
        assert_eq!(causes(&failures), NO_FAILURES);
    }

    /// Each of them emits to all of them.
    async fn two_hundred_handlers_that_emit_do_not_overflow_the_stack(rt) {
        const HANDLERS: usize = 200;
        let own = Own::default();
        let (mut callbacks, failures) = reporting(rt.callbacks());
        for _ in 0..HANDLERS {
            callbacks.add_handler(emitting(&own, How::BlockOn));
        }
        own.set(&callbacks);
        streamed(callbacks.clone(), "outer".into(), 1).await.unwrap();
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES);
        for stats in callbacks.stats() {
            // A lane takes a limited number of custom events from inside calls.
            let refused = stats.dropped + stats.refused_runs;
            assert_eq!(stats.handled + refused, 3 + HANDLERS, "{stats:?}");
        }
    }

    /// The handler that gets the event waits for the one that emits it.
    async fn a_handler_that_emits_does_not_wait_for_the_handlers_that_get_it(
        rt: with_blocking_threads
    ) {
        for how in [How::BlockOn, How::Wait] {
            let own = Own::default();
            let (emitted, waits) = std::sync::mpsc::channel::<()>();
            let emits = own.clone();
            let emitter = handler_fn(move |event, _| {
                if matches!(event, Event::LlmStart(_)) {
                    emit_custom(emits.get()?, how)?;
                    emitted.send(())?;
                }
                Ok(())
            });
            let waiting = handler_fn(move |event, _| {
                if matches!(event, Event::CustomEvent(_)) {
                    waits.recv()?;
                }
                Ok(())
            });
            let (callbacks, failures) = reporting(rt.callbacks());
            let callbacks = callbacks.with_handler(emitter).with_handler(waiting);
            own.set(&callbacks);
            streamed(callbacks.clone(), "outer".into(), 0).await.unwrap();
            settled(&callbacks).await;
            assert_eq!(causes(&failures), NO_FAILURES, "{how:?}");
            assert_eq!(callbacks.stats()[1].handled, 3, "{how:?}");
        }
    }
}

/// With tokio's own `block_on`, which panics inside another one.
#[test]
fn handlers_that_block_on_tokios_handle_are_not_called_inside_each_other() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let tokio = Tokio::new(handle.clone()).unwrap();
    let own = Own::default();
    let (mut callbacks, failures) = reporting(CallbackManager::new(tokio));
    for _ in 0..2 {
        let (own, handle) = (own.clone(), handle.clone());
        callbacks.add_handler(handler_fn(move |event, _| {
            if matches!(event, Event::LlmStart(_)) {
                let note = CustomEvent::new("note", json!(0));
                handle.block_on(own.get()?.on_custom_event(note))?;
            } else {
                handle.block_on(async {});
            }
            Ok(())
        }));
    }
    own.set(&callbacks);
    runtime.block_on(async {
        for _ in 0..200 {
            streamed(callbacks.clone(), "outer".into(), 1).await.unwrap();
        }
        settled(&callbacks).await;
    });
    assert_eq!(causes(&failures), NO_FAILURES);
}
