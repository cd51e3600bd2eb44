//! Handlers that emit what another one emits on, and so on: a circle that ends by itself, and
//! circles that a limit ends.

use super::emitting::emitting;
use super::*;

/// The number in a text.
fn number(event: &Event) -> Option<usize> {
    match event {
        Event::Text(text) => text.text.parse().ok(),
        _ => None,
    }
}

fn is_too_deep(failure: &HandlerFailure) -> bool {
    let FailureCause::Error(error) = &failure.cause else { return false };
    matches!(error.downcast_ref::<EmitError>(), Some(EmitError::TooDeep))
}

on_every_runtime! {
    /// The handler whose turn it is emits a run with the next number.
    async fn three_handlers_in_a_circle_come_to_their_end(rt) {
        const LAST: usize = 12;
        let own = Own::default();
        let (mut callbacks, failures) = reporting(rt.callbacks());
        let mut logs = Vec::new();
        for place in 0..3 {
            let (log, emits) = (Log::new(), own.clone());
            let writes = log.clone();
            callbacks = callbacks.with_handler(handler_fn(move |event, cx| {
                if let Some(at) = number(event).filter(|at| *at < LAST && at % 3 == place) {
                    let (name, text) = (format!("run {}", at + 1), (at + 1).to_string());
                    emit_run(emits.get()?, &name, &text, How::BlockOn)?;
                }
                writes.write(format!("{}: {}", cx.name(), line(event)));
                Ok(())
            }));
            logs.push(log);
        }
        own.set(&callbacks);
        let mut run = chain(&callbacks, "run 0").await;
        run.on_text("0").await.unwrap();
        run.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES);
        for log in logs {
            for at in 0..=LAST {
                let name = format!("run {at}");
                assert_eq!(of(&log, &name), whole_run(&name, &at.to_string()));
            }
        }
    }

    /// The second handler emits what it gets itself, and so on, until that is too deep.
    async fn an_endless_circle_of_sync_handlers_ends_in_an_error(rt) {
        let (a, b, own) = (Log::new(), Log::new(), Own::default());
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks
            .with_handler(emitting(&a, &own, "go", "inner"))
            .with_handler(emitting(&b, &own, "inside", "innermost"));
        own.set(&callbacks);
        let mut run = chain(&callbacks, "outer").await;
        run.on_text("go").await.unwrap();
        run.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        for log in [&a, &b] {
            assert_eq!(of(log, "outer"), whole_run("outer", "go"));
            assert_eq!(of(log, "inner"), whole_run("inner", "inside"));
        }
        assert!(!of(&b, "innermost").is_empty());
        // It is a failure of the handler that emitted last.
        let failures = failures.lock().unwrap();
        assert!(!failures.is_empty() && failures.iter().all(is_too_deep), "{failures:?}");
    }

    /// An async handler's circle is inside one call, and the limit keeps it off the stack's end.
    /// A start that is too deep has not happened, and its run emits nothing.
    async fn an_endless_circle_of_async_handlers_ends_in_an_error(rt) {
        let (own, log) = (Own::default(), Log::new());
        let (errors, emits) = (Arc::new(Mutex::new(Vec::new())), own.clone());
        let kept = errors.clone();
        let circle = async_handler_fn(async move |event: &Event, _: &EventContext| {
            if matches!(event, Event::ChainStart(_)) {
                let start = emits.get()?.on_chain_start(ChainStart::new("inner", json!(0)));
                // Boxed, or the future would be a part of itself.
                let (mut run, started) = Box::pin(start.keep()).await;
                if let Err(error) = started {
                    let text = run.on_text("of no run").await;
                    let end = run.end(json!(1)).await;
                    kept.lock().unwrap().push((error, text, end));
                }
            }
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks().with_async_handler(circle));
        let callbacks =
            callbacks.with_handler_options(sync(log.clone()), Awaited::new().inline());
        own.set(&callbacks);
        chain(&callbacks, "outer").await.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        let errors = errors.lock().unwrap();
        let [(error, text, end)] = &errors[..] else { panic!("{errors:?}") };
        assert!(matches!(error, EmitError::TooDeep), "{error}");
        assert!(matches!(text, Err(EmitError::RunClosed)), "{text:?}");
        assert!(matches!(end, Err(EmitError::RunClosed)), "{end:?}");
        assert_eq!(causes(&failures), NO_FAILURES);
        let starts = of(&log, "inner").iter().filter(|line| line.contains("start")).count();
        assert_eq!(of(&log, "inner").len(), 2 * starts, "every run that started has an end");
    }
}
