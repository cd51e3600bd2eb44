//! What may be waited for inside a handler's call: an emit, for async handlers only. A flush or a
//! shutdown would wait for the call itself, and is an error. (Fault 11.)

use futures_channel::oneshot;

use super::*;

/// Whether it is the error of something that cannot be waited for in a call.
fn is_inside_call<T>(output: Result<T, EmitError>) -> bool {
    matches!(output, Err(EmitError::InsideCall))
}

/// Does something in the sync call for the text "go", and gives what it comes to.
async fn in_a_sync_call<T: Send + 'static>(
    callbacks: CallbackManager,
    options: HandlerOptions,
    mut inside: impl FnMut(&CallbackManager) -> T + Send + 'static,
) -> T {
    let own = Own::default();
    let (told, output) = oneshot::channel();
    let (mut told, emits) = (Some(told), own.clone());
    let handler = handler_fn(move |event, _| {
        if is_text(event, "go") {
            let output = inside(emits.get()?);
            let _ = told.take().map(|told| told.send(output));
        }
        Ok(())
    });
    let callbacks = callbacks.with_handler_options(handler, options);
    own.set(&callbacks);
    let mut run = chain(&callbacks, "outer").await;
    run.on_text("go").await.unwrap();
    run.end(json!(1)).await.unwrap();
    settled(&callbacks).await;
    output.await.unwrap()
}

fn deliveries() -> [HandlerOptions; 4] {
    [
        HandlerOptions::new(),
        Awaited::new().inline().into(),
        Pipelined::new(8).into(),
        Background::new(8).into(),
    ]
}

on_every_runtime! {
    async fn a_flush_inside_a_sync_call_is_an_error(rt) {
        for options in deliveries() {
            let refused = in_a_sync_call(rt.callbacks(), options, |own| {
                [is_inside_call(block_on(own.flush())), is_inside_call(own.flush().wait())]
            });
            assert_eq!(refused.await, [true, true]);
        }
    }

    async fn a_shutdown_inside_a_sync_call_is_an_error(rt) {
        for options in deliveries() {
            let refused = in_a_sync_call(rt.callbacks(), options, |own| {
                let awaited = block_on(own.shutdown(Duration::ZERO));
                [is_inside_call(awaited), is_inside_call(own.shutdown(Duration::ZERO).wait())]
            });
            assert_eq!(refused.await, [true, true]);
        }
    }

    async fn a_flush_or_a_shutdown_inside_an_async_call_is_an_error(rt) {
        let options: [HandlerOptions; 4] = [
            HandlerOptions::new(),
            Awaited::new().inline().into(),
            HandlerOptions::new().on_runtime(),
            Pipelined::new(8).into(),
        ];
        for options in options {
            let (own, seen) = (Own::default(), Arc::new(Mutex::new(Vec::new())));
            let (emits, kept) = (own.clone(), seen.clone());
            let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
                if is_text(event, "go") {
                    let flushed = is_inside_call(emits.get()?.flush().await);
                    let shut_down = is_inside_call(emits.get()?.shutdown(Duration::ZERO).await);
                    kept.lock().unwrap().push((flushed, shut_down));
                }
                Ok(())
            });
            let (callbacks, failures) = reporting(rt.callbacks());
            let callbacks = callbacks.with_async_handler_options(handler, options);
            own.set(&callbacks);
            let mut run = chain(&callbacks, "outer").await;
            run.on_text("go").await.unwrap();
            run.end(json!(1)).await.unwrap();
            settled(&callbacks).await;
            assert_eq!(causes(&failures), NO_FAILURES);
            assert_eq!(*seen.lock().unwrap(), [(true, true)]);
        }
    }

    /// Where it is polled counts, too: a flush that was begun outside may wait for this very call.
    async fn a_flush_that_began_outside_is_an_error_inside_a_call(rt) {
        for options in deliveries() {
            let began = Arc::new(Mutex::new(None));
            let kept = began.clone();
            let refused = in_a_sync_call(rt.callbacks(), options, move |_| {
                let (mut flush, mut shutdown) = kept.lock().unwrap().take().unwrap();
                let flushed = is_inside_call(block_on(&mut flush));
                [flushed, is_inside_call(block_on(&mut shutdown))]
            });
            let outside = rt.callbacks();
            *began.lock().unwrap() = Some((outside.flush(), outside.shutdown(Duration::ZERO)));
            assert_eq!(refused.await, [true, true]);
        }
    }

    /// A task or a thread that took its place along is inside the call until the call returns.
    async fn a_flush_in_a_task_of_a_call_is_an_error_until_the_call_returns(
        rt: with_blocking_threads
    ) {
        let spawner = rt.clone();
        let (after, is_after) = oneshot::channel::<()>();
        let mut after_call = Some(is_after);
        let (refused, later) = in_a_sync_call(rt.callbacks(), HandlerOptions::new(), move |own| {
            let (manager, in_thread) = (own.clone(), own.clone());
            let task = async move { is_inside_call(manager.flush().await) };
            let task = block_on(spawner.go(task.in_current_run()));
            let thread = move || is_inside_call(in_thread.flush().wait());
            let thread = std::thread::spawn(thread.in_current_run()).join().unwrap();
            let (manager, after_call) = (own.clone(), after_call.take().unwrap());
            let later = async move {
                let _ = after_call.await;
                manager.flush().await
            };
            ([task, thread], spawner.go(later.in_current_run()))
        })
        .await;
        assert_eq!(refused, [true, true]);
        drop(after);
        later.await.unwrap();
    }

    /// The spawner polls the async handlers; the call's thread is blocked meanwhile.
    async fn the_wait_of_an_emit_in_a_call_waits_for_async_handlers(rt: with_blocking_threads) {
        for how in [How::BlockOn, How::Wait] {
            let log = Log::new();
            let callbacks = rt.callbacks().with_async_handler(asynchronous(log.clone()));
            let writes = log.clone();
            let seen = in_a_sync_call(callbacks, HandlerOptions::new(), move |own| {
                let mut seen = Vec::new();
                let start = own.on_chain_start(ChainStart::new("inner", json!(0)));
                let run = match how {
                    How::BlockOn => block_on(start),
                    How::Wait => start.wait(),
                };
                let mut run = run.unwrap();
                seen.push(of(&writes, "inner").len());
                let text = run.on_text("inside");
                match how {
                    How::BlockOn => block_on(text),
                    How::Wait => text.wait(),
                }
                .unwrap();
                seen.push(of(&writes, "inner").len());
                seen
            });
            assert_eq!(seen.await, [1, 2], "{how:?}");
        }
    }

    /// Sync handlers are not waited for: one that is stuck does not hold up the call.
    async fn the_wait_of_an_emit_in_a_call_does_not_wait_for_sync_handlers(
        rt: with_blocking_threads
    ) {
        for how in [How::BlockOn, How::Wait] {
            let (handler, mut grip) = rappel_tests::held::held();
            let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(8));
            let (log, writes) = (Log::new(), Log::new());
            let emits = in_a_sync_call(callbacks, Pipelined::new(8).into(), {
                let log = log.clone();
                move |own| {
                    emit_run(own, "inner", "inside", how).unwrap();
                    log.write("emitted");
                }
            });
            let opens = async {
                assert_eq!(grip.entered().await, "outer chain_start: 0");
                while log.lines().is_empty() {
                    yield_now().await;
                }
                writes.write("opened");
                drop(grip);
            };
            futures_util::future::join(emits, opens).await;
            assert_eq!((log.lines().len(), writes.lines().len()), (1, 1));
        }
    }

    /// What is emitted outside of calls after that is waited for as ever.
    async fn a_flush_after_a_call_waits_for_what_the_call_emitted(rt) {
        let (own, log) = (Own::default(), Log::new());
        let handler = super::emitting::emitting(&log, &own, "go", "inner");
        let callbacks = rt.callbacks().with_handler(handler);
        own.set(&callbacks);
        let mut run = chain(&callbacks, "outer").await;
        run.on_text("go").await.unwrap();
        // The call is over, and what it emitted is queued.
        callbacks.flush().await.unwrap();
        assert_eq!(of(&log, "inner"), whole_run("inner", "inside"));
        run.end(json!(1)).await.unwrap();
    }
}
