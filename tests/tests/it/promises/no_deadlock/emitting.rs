//! A handler that emits in its calls, to itself and to others.

use futures_channel::oneshot;

use super::*;

/// A sync handler that emits a whole run of `name` when it gets the text `on`.
pub(super) fn emitting(
    log: &Log,
    own: &Own,
    on: &'static str,
    name: &'static str,
) -> impl CallbackHandler + Send + use<> {
    let (log, own) = (log.clone(), own.clone());
    handler_fn(move |event, cx| {
        if is_text(event, on) {
            emit_run(own.get()?, name, "inside", How::BlockOn)?;
        }
        log.write(format!("{}: {}", cx.name(), line(event)));
        Ok(())
    })
}

on_every_runtime! {
    /// It gets what it emits after the call in which it did.
    async fn a_sync_handler_may_emit_to_itself(rt) {
        let deliveries: [HandlerOptions; 4] = [
            HandlerOptions::new(),
            Awaited::new().inline().into(),
            Pipelined::new(2).into(),
            Background::new(2).into(),
        ];
        for options in deliveries {
            let (log, own) = (Log::new(), Own::default());
            let (callbacks, failures) = reporting(rt.callbacks());
            let handler = emitting(&log, &own, "go", "inner");
            let callbacks = callbacks.with_handler_options(handler, options);
            own.set(&callbacks);
            let mut run = chain(&callbacks, "outer").await;
            run.on_text("go").await.unwrap();
            settled(&callbacks).await;
            assert_eq!(log.lines()[..2], ["outer: chain_start: 0", "outer: text: go"]);
            assert_eq!(log.lines()[2..], whole_run("inner", "inside"));
            run.end(json!(1)).await.unwrap();
            assert_eq!(causes(&failures), NO_FAILURES);
        }
    }

    /// Handlers of every delivery see what it emits whole, and in order.
    async fn a_sync_handler_may_emit_to_handlers_of_every_delivery(rt) {
        let own = Own::default();
        let watched = Watched::on(rt.callbacks());
        let (callbacks, failures) = reporting(watched.callbacks.clone());
        let handler = emitting(&Log::new(), &own, "go", "inner");
        let callbacks = callbacks.with_handler(handler);
        own.set(&callbacks);
        let mut run = chain(&callbacks, "outer").await;
        run.on_text("go").await.unwrap();
        run.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        for (handler, log) in &watched.logs {
            assert_eq!(of(log, "outer"), whole_run("outer", "go"), "{handler}");
            assert_eq!(of(log, "inner"), whole_run("inner", "inside"), "{handler}");
        }
        assert_eq!(causes(&failures), NO_FAILURES);
    }

    /// An async handler that awaits what it emits, to itself and to handlers of every delivery.
    async fn an_async_handler_may_emit_to_handlers_of_every_delivery(rt) {
        let own = Own::default();
        let watched = Watched::on(rt.callbacks());
        let (callbacks, failures) = reporting(watched.callbacks.clone());
        let emits = own.clone();
        let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if is_text(event, "go") {
                let mut run =
                    emits.get()?.on_chain_start(ChainStart::new("inner", json!(0))).await?;
                run.on_text("inside").await?;
                run.end(json!(1)).await?;
            }
            Ok(())
        });
        let callbacks = callbacks.with_async_handler(handler);
        own.set(&callbacks);
        let mut run = chain(&callbacks, "outer").await;
        run.on_text("go").await.unwrap();
        run.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        for (handler, log) in &watched.logs {
            assert_eq!(of(log, "outer"), whole_run("outer", "go"), "{handler}");
            assert_eq!(of(log, "inner"), whole_run("inner", "inside"), "{handler}");
        }
        assert_eq!(causes(&failures), NO_FAILURES);
    }

    /// An emit on the run whose event is being handled is handed over. It comes after that event.
    async fn an_async_handler_may_emit_on_the_run_whose_event_it_handles(rt) {
        let (slot, log) = (Arc::new(Mutex::new(None::<ChainRun>)), Log::new());
        let (gate, opens) = oneshot::channel::<()>();
        let (run, opens) = (slot.clone(), Arc::new(Mutex::new(Some(opens))));
        let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if is_text(event, "outside") {
                let opens = opens.lock().unwrap().take().unwrap();
                let _ = opens.await;
                let mut run = run.lock().unwrap().take().ok_or("no run")?;
                run.on_text("inside").await?;
                run.end(json!(1)).await?;
            }
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks.with_async_handler(handler).with_handler(log.handler());
        let mut run = chain(&callbacks, "run").await;
        let mut emit = run.on_text("outside");
        assert!(poll_once(&mut emit).await.is_none());
        drop(emit);
        *slot.lock().unwrap() = Some(run);
        drop(gate);
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES);
        let expected = ["chain_start: 0", "text: outside", "text: inside", "chain_end: 1"];
        assert_eq!(log.lines(), expected);
    }

    /// An emit on the run whose end is being handled comes too late, and is told so.
    async fn an_async_handler_may_not_emit_on_the_run_whose_end_it_handles(rt) {
        let (slot, told) = (Arc::new(Mutex::new(None::<ChainRun>)), Log::new());
        let (run, tells) = (slot.clone(), told.clone());
        let handler = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if matches!(event, Event::ChainError(_)) {
                let mut run = run.lock().unwrap().take().ok_or("no run")?;
                tells.write(format!("{:?}", run.on_text("late").await));
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_async_handler(handler);
        let parent = chain(&callbacks, "parent").await;
        *slot.lock().unwrap() = Some(chain(&parent.child(), "child").await);
        parent.end(json!(1)).await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(told.lines(), ["Err(RunClosed)"]);
        assert_eq!(callbacks.stats()[0].dropped, 0);
    }

    /// An emit on the run whose event a sync handler handles: its thread must not wait for its own
    /// call.
    async fn a_sync_handler_may_emit_on_the_run_whose_event_it_handles(rt: with_blocking_threads) {
        for how in [How::BlockOn, How::Wait] {
            let (slot, log) = (Arc::new(Mutex::new(None::<ChainRun>)), Log::new());
            let (go, goes) = std::sync::mpsc::channel::<()>();
            let run = slot.clone();
            let handler = handler_fn(move |event, _| {
                if is_text(event, "outside") {
                    let _ = goes.recv();
                    let mut run = run.lock().unwrap().take().ok_or("no run")?;
                    match how {
                        How::BlockOn => {
                            block_on(run.on_text("inside"))?;
                            block_on(run.end(json!(1)))?;
                        }
                        How::Wait => {
                            run.on_text("inside").wait()?;
                            run.end(json!(1)).wait()?;
                        }
                    }
                }
                Ok(())
            });
            let (callbacks, failures) = reporting(rt.callbacks());
            let callbacks = callbacks.with_handler(handler).with_handler(log.handler());
            let mut run = chain(&callbacks, "run").await;
            let mut emit = run.on_text("outside");
            assert!(poll_once(&mut emit).await.is_none());
            drop(emit);
            *slot.lock().unwrap() = Some(run);
            drop(go);
            settled(&callbacks).await;
            assert_eq!(causes(&failures), NO_FAILURES, "{how:?}");
            let expected = ["chain_start: 0", "text: outside", "text: inside", "chain_end: 1"];
            assert_eq!(log.lines(), expected, "{how:?}");
        }
    }

    /// A task that a handler spawns is inside no call any more once the call is over. What it
    /// emits is awaited as ever.
    async fn a_task_that_outlives_its_call_awaits_what_it_emits(rt) {
        let (log, own) = (Log::new(), Own::default());
        let (go, over) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let channels = Mutex::new(Some((over, done)));
        let (spawner, writes, emits) = (rt.clone(), log.clone(), own.clone());
        let handler = handler_fn(move |event, cx| {
            if is_text(event, "go") {
                let (over, done) = channels.lock().unwrap().take().unwrap();
                let (callbacks, log) = (emits.get()?.clone(), writes.clone());
                let task = async move {
                    over.await.unwrap();
                    streamed(callbacks, "task".into(), 1).await.unwrap();
                    // The handler has handled the end by now.
                    done.send(log.lines()).unwrap();
                };
                drop(spawner.go(task.in_current_run()));
            }
            writes.write(format!("{}: {}", cx.name(), line(event)));
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler(handler);
        own.set(&callbacks);
        let mut run = chain(&callbacks, "outer").await;
        run.on_text("go").await.unwrap();
        go.send(()).unwrap();
        let seen = is_done.await.unwrap();
        assert_eq!(seen[2..], ["task: llm_start: prompt", "task: token: 0 ", "task: llm_end: all"]);
        run.end(json!(1)).await.unwrap();
    }
}
