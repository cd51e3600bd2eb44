//! Failures that come back to the emitter: those of handlers with `raise_error`.

use super::*;

on_every_runtime! {
    /// The emitter gets the first of those that raise, inline ones before the others.
    async fn a_raised_failure_comes_back_when_all_have_seen_the_event(rt) {
        let (callbacks, failures) = reporting(rt.callbacks());
        let (sync, asynchronous) = (Log::new(), Log::new());
        let raising = Awaited::new().raise_error();
        let named = |name: &str| HandlerOptions::new().name(name);
        let callbacks = callbacks
            .with_handler_options(Failing(How::Error), Awaited::new().inline())
            .with_async_handler_options(Failing(How::Error), named("async").delivery(raising))
            .with_handler_options(
                Failing(How::Panic),
                named("inline").delivery(raising.inline()),
            )
            .with_handler(sync.handler())
            .with_async_handler(asynchronous.async_handler());
        let mut run = model(&callbacks, "llm").await;
        let error = run.on_llm_new_token("a").await.unwrap_err();
        assert!(matches!(&error, EmitError::Raised(failure) if *failure.handler == *"inline"));
        let expected =
            "stopped: handler `inline` failed in on_llm_new_token: panicked: it broke";
        assert_eq!(error.to_string(), expected);
        assert_eq!(sync.lines(), WHOLE_RUN[..2]);
        assert_eq!(asynchronous.lines(), WHOLE_RUN[..2]);
        assert_eq!(failures.lock().unwrap().len(), 3);

        // Giving up ends the run as stopped, with the partial result.
        drop(run);
        callbacks.flush().await.unwrap();
        assert_eq!(sync.lines()[2..], ["llm_error: stopped: a"]);
        assert_eq!(asynchronous.lines()[2..], ["llm_error: stopped: a"]);
    }

    /// An emitter that goes on after a raised failure is not stopped by it later.
    async fn going_on_after_a_raised_failure_is_the_emitters_choice(rt) {
        let log = Log::new();
        let (callbacks, _failures) = reporting(rt.callbacks());
        let callbacks = callbacks
            .with_handler_options(Failing(How::Error), Awaited::new().raise_error())
            .with_async_handler(log.async_handler());
        let mut run = model(&callbacks, "llm").await;
        run.on_llm_new_token("a").await.unwrap_err();
        run.on_retry(Retry::new(1, "again", Duration::ZERO)).await.unwrap();
        drop(run);
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines().last().unwrap(), "llm_error: cancelled: a");
    }

    /// `keep` gives the run of a start that raised. An end that raised has ended its run.
    async fn a_start_that_raises_goes_on_if_it_is_kept(rt) {
        let log = Log::new();
        let (callbacks, _failures) = reporting(rt.callbacks());
        let picky = handler_fn(|event, _| match event {
            Event::ChainStart(_) | Event::ChainEnd(_) => Err("not this one".into()),
            _ => Ok(()),
        });
        let raising = HandlerOptions::new().delivery(Awaited::new().raise_error()).name("picky");
        let callbacks =
            callbacks.with_handler(log.handler()).with_handler_options(picky, raising);
        let start = callbacks.on_chain_start(ChainStart::new("chain", json!(1)));
        let (mut chain, started) = start.keep().await;
        let expected = "stopped: handler `picky` failed in on_chain_start: not this one";
        assert_eq!(started.unwrap_err().to_string(), expected);
        chain.on_text("still here").await.unwrap();
        assert!(matches!(chain.end(json!(2)).await, Err(EmitError::Raised(_))));
        callbacks.flush().await.unwrap();
        assert_eq!(log.lines(), ["chain_start: 1", "text: still here", "chain_end: 2"]);
    }

    /// A start that raises has ended its run as stopped, also while its error is kept.
    async fn a_start_that_raises_ends_its_run_at_once(rt) {
        let watched = Watched::on(reporting(rt.callbacks()).0);
        let picky = handler_fn(|event, _| match event {
            Event::ChainStart(_) => Err("not this one".into()),
            _ => Ok(()),
        });
        let raising = Awaited::new().raise_error();
        let callbacks = watched.callbacks.clone().with_handler_options(picky, raising);
        let start = callbacks.on_chain_start(ChainStart::new("chain", json!(1)));
        let error = start.await.unwrap_err();
        callbacks.flush().await.unwrap();
        watched.assert_all_saw(&["chain: chain_start: 1", "chain: chain_error: stopped"]);
        assert!(matches!(RunError::from(error), RunError::Stopped(_)));
    }
}
