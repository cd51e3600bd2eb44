//! What a handler emits in its call while a queue is full: tokens are joined, other events are
//! counted as lost, runs are refused whole. There is no error and no wait.

use super::*;

/// Emits in its call for the text "go", and writes what it gets with what it is told to have lost.
fn emitting<F>(log: &Log, own: &Own, mut emit: F) -> impl CallbackHandler + Send + use<F>
where
    F: FnMut(&CallbackManager) -> HandlerResult + Send + 'static,
{
    let (log, own) = (log.clone(), own.clone());
    handler_fn(move |event, cx| {
        if is_text(event, "go") {
            emit(own.get()?)?;
        }
        let lost = (cx.losses().dropped, cx.losses().refused_runs);
        let lost = if lost == (0, 0) { String::new() } else { format!(" after {lost:?}") };
        log.write(format!("{}: {}{lost}", cx.name(), line(event)));
        Ok(())
    })
}

/// One run whose handler emits in the call for its text.
async fn go(callbacks: CallbackManager, own: &Own) -> CallbackManager {
    let (callbacks, failures) = reporting(callbacks);
    own.set(&callbacks);
    let mut run = chain(&callbacks, "outer").await;
    run.on_text("go").await.unwrap();
    settled(&callbacks).await;
    run.end(json!(1)).await.unwrap();
    settled(&callbacks).await;
    assert_eq!(causes(&failures), NO_FAILURES);
    callbacks
}

fn deliveries(capacity: usize) -> [HandlerOptions; 2] {
    [Pipelined::new(capacity).into(), Background::new(capacity).into()]
}

on_every_runtime! {
    /// Ten tokens and room for two: all of the text arrives.
    async fn tokens_are_joined_and_no_text_is_lost(rt) {
        for options in deliveries(2) {
            let (log, own) = (Log::new(), Own::default());
            let handler = emitting(&log, &own, |own| {
                block_on(streamed(own.clone(), "inner".into(), 10))?;
                Ok(())
            });
            let callbacks = rt.callbacks().with_handler_options(handler, options);
            let callbacks = go(callbacks, &own).await;
            let inner = of(&log, "inner");
            let tokens: String =
                inner.iter().filter_map(|line| line.strip_prefix("inner: token: ")).collect();
            assert_eq!(tokens, (0..10).map(|number| format!("{number} ")).collect::<String>());
            assert_eq!(inner.len(), 4, "{inner:?}");
            let stats = &callbacks.stats()[0];
            assert_eq!((stats.coalesced, stats.dropped), (8, 0), "{stats:?}");
        }
    }

    /// Start and end have room of their own.
    async fn other_events_are_counted_as_lost(rt) {
        for options in deliveries(2) {
            let (log, own) = (Log::new(), Own::default());
            let handler = emitting(&log, &own, |own| {
                block_on(async {
                    let start = ChainStart::new("inner", json!(0));
                    let mut inner = own.on_chain_start(start).await?;
                    for number in 0..5 {
                        inner.on_text(number.to_string()).await?;
                    }
                    inner.end(json!(1)).await?;
                    Ok(())
                })
            });
            let callbacks = rt.callbacks().with_handler_options(handler, options);
            let callbacks = go(callbacks, &own).await;
            assert_eq!(of(&log, "inner"), [
                "inner: chain_start: 0", "inner: text: 0", "inner: text: 1",
                "inner: chain_end: 1 after (3, 0)",
            ]);
            assert_eq!(callbacks.stats()[0].dropped, 3);
        }
    }

    /// A lane takes as many runs from inside calls as its capacity; more are refused whole.
    async fn runs_beyond_the_capacity_are_refused_whole(rt) {
        for options in deliveries(3) {
            let (log, own) = (Log::new(), Own::default());
            let handler = emitting(&log, &own, |own| {
                for number in 0..10 {
                    emit_run(own, &format!("inner {number}"), "inside", How::BlockOn)?;
                }
                Ok(())
            });
            let callbacks = rt.callbacks().with_handler_options(handler, options);
            let callbacks = go(callbacks, &own).await;
            let mut expected = whole_run("outer", "go")[..2].to_vec();
            for number in 0..3 {
                expected.extend(whole_run(&format!("inner {number}"), "inside"));
            }
            // The loss is told with the first event after it.
            let mut lines = log.lines();
            let told: Vec<String> =
                lines.iter_mut().filter_map(|line| {
                    let (event, told) = line.split_once(" after ")?;
                    let told = told.to_owned();
                    *line = event.to_owned();
                    Some(told)
                }).collect();
            assert_eq!(told, ["(0, 7)"]);
            expected.push("outer: chain_end: 1".to_owned());
            lines.sort();
            expected.sort();
            assert_eq!(lines, expected);
            let stats = &callbacks.stats()[0];
            assert_eq!((stats.refused_runs, stats.dropped), (7, 0), "{stats:?}");
        }
    }

    /// Once they are handled there is room again.
    async fn handled_runs_make_room_for_those_of_the_next_call(rt) {
        let (log, own) = (Log::new(), Own::default());
        let handler = emitting(&log, &own, |own| {
            for number in 0..3 {
                emit_run(own, &format!("inner {number}"), "inside", How::BlockOn)?;
            }
            Ok(())
        });
        let callbacks = rt.callbacks().with_handler_options(handler, Pipelined::new(3));
        own.set(&callbacks);
        let mut run = chain(&callbacks, "outer").await;
        for _ in 0..5 {
            run.on_text("go").await.unwrap();
            settled(&callbacks).await;
        }
        run.end(json!(1)).await.unwrap();
        assert_eq!(callbacks.stats()[0].refused_runs, 0);
        assert_eq!(log.lines().len(), 2 + 5 + 5 * 9);
    }

    /// A queue of another handler that is stuck is not waited for either.
    async fn a_full_queue_of_a_stuck_handler_is_not_waited_for(rt: with_blocking_threads) {
        let (first, mut grip) = rappel_tests::held::held();
        let (log, seen, own) = (Log::new(), Log::new(), Own::default());
        let (mut first, writes) = (Some(first), seen.clone());
        let stuck = handler_fn(move |event, cx| {
            if let Some(mut held) = first.take() {
                held.on_event(event, cx)?;
            }
            writes.write(format!("{}: {}", cx.name(), line(event)));
            Ok(())
        });
        let handler = emitting(&log, &own, |own| {
            block_on(streamed(own.clone(), "inner".into(), 100))?;
            Ok(())
        });
        let (callbacks, failures) = reporting(rt.callbacks());
        let callbacks = callbacks
            .with_handler_options(handler, Pipelined::new(200))
            .with_handler_options(stuck, Pipelined::new(2));
        own.set(&callbacks);
        let mut run = chain(&callbacks, "outer").await;
        assert_eq!(grip.entered().await, "outer chain_start: 0");
        run.on_text("go").await.unwrap();
        while of(&log, "inner").len() < 102 {
            yield_now().await;
        }
        assert_eq!(seen.lines(), [""; 0]);
        drop(grip);
        run.end(json!(1)).await.unwrap();
        settled(&callbacks).await;
        assert_eq!(causes(&failures), NO_FAILURES);
        let seen = of(&seen, "inner");
        let tokens = seen.iter().filter_map(|line| line.strip_prefix("inner: token: "));
        let text: String = (0..100).map(|number| format!("{number} ")).collect();
        assert_eq!(tokens.collect::<String>(), text);
    }
}
