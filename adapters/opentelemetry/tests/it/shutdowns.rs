//! What a shutdown does for handlers, on each runtime.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use futures_executor::block_on;
use rappel_async_std::AsyncStd;
use rappel_core::CallbackManager;
use rappel_opentelemetry::otlp;
use rappel_smol::Smol;
use rappel_threads::Threads;
use rappel_tokio::Tokio;

use crate::collector::{Answer, Collector};
use crate::scene;

/// Calls `test` on each runtime, where its event loop is.
fn on_each_runtime(test: impl AsyncFn(&str, CallbackManager)) {
    for builder in
        [tokio::runtime::Builder::new_multi_thread(), tokio::runtime::Builder::new_current_thread()]
    {
        let runtime = { builder }.enable_all().build().unwrap();
        runtime.block_on(async { test("tokio", CallbackManager::new(Tokio::current())).await });
    }
    smol::block_on(async { test("smol", CallbackManager::new(Smol::global())).await });
    smol::block_on(async { test("async-std", CallbackManager::new(AsyncStd::new())).await });
    block_on(async { test("threads", CallbackManager::new(Threads::new())).await });
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn the_manager_s_shutdown_sends_what_is_left_on_each_runtime() {
    on_each_runtime(async |runtime, callbacks| {
        let collector = Collector::start([]);
        let delay = Duration::from_secs(3600);
        let telemetry = otlp().endpoint(collector.url()).schedule_delay(delay).build().unwrap();
        let callbacks = telemetry.register(callbacks);
        scene::agent(&callbacks).await;
        let report = callbacks.shutdown(LONG).await.unwrap();
        assert!(report.is_clean(), "{runtime}: {report:?}");
        assert_eq!(collector.spans().len(), 6, "{runtime}");
        assert_eq!(telemetry.counts().acknowledged, 6, "{runtime}");
    });
}

#[test]
fn a_collector_that_stalls_does_not_block_the_event_loop() {
    on_each_runtime(async |runtime, callbacks| {
        let collector = Collector::start([Answer::Stall]);
        let telemetry = otlp().endpoint(collector.url()).build().unwrap();
        let callbacks = telemetry.register(callbacks);
        scene::small(&callbacks).await;
        let shutdown = callbacks.shutdown(Duration::from_millis(300));
        let mut shutdown = std::pin::pin!(shutdown);
        let mut polls = 0;
        let report = std::future::poll_fn(|cx| {
            polls += 1;
            shutdown.as_mut().poll(cx)
        });
        let report = report.await.unwrap();
        assert!(polls > 1, "{runtime}: it has waited");
        assert_eq!(report.unfinished.len(), 1, "{runtime}: {report:?}");
    });
}

#[test]
fn work_that_fails_panics_or_hangs_is_reported_and_other_work_is_done() {
    on_each_runtime(async |runtime, callbacks| {
        let (done, is_done) = channel();
        let (release, hangs) = channel::<()>();
        let hangs = std::sync::Mutex::new(hangs);
        let here = thread::current().id();
        let callbacks = callbacks
            .on_shutdown(|_| Err("it is broken".into()))
            .on_shutdown(|_| panic!("a bug"))
            .on_shutdown(move |_| {
                let _ = hangs.lock().unwrap().recv();
                Ok(())
            })
            .on_shutdown(move |deadline| {
                done.send((deadline, thread::current().id()))?;
                Ok(())
            });
        let deadline = Duration::from_millis(200);
        let report = callbacks.shutdown(deadline).await.unwrap();
        let (given, on) = is_done.recv().unwrap();
        assert_eq!(given, deadline, "{runtime}");
        assert_ne!(on, here, "{runtime}: not on the event loop");
        let said = report.unfinished.join("; ");
        assert_eq!(report.unfinished.len(), 3, "{runtime}: {said}");
        for part in ["it is broken", "a bug", "did not end in time"] {
            assert!(said.contains(part), "{runtime}: {said}");
        }
        assert!(!report.is_clean(), "{runtime}");
        drop(release);
    });
}

#[test]
fn work_is_done_after_all_events_are_handled() {
    on_each_runtime(async |runtime, callbacks| {
        let (send, log) = channel();
        let of_events = send.clone();
        let handler = rappel_core::handler_fn(move |event: &rappel_core::Event, _: &_| {
            of_events.send(format!("{:?}", event.kind()))?;
            Ok(())
        });
        let callbacks = callbacks
            .with_handler_options(handler, rappel_core::Delivery::background(64))
            .on_shutdown(move |_| Ok(send.send("work".into())?));
        scene::small(&callbacks).await;
        callbacks.shutdown(LONG).await.unwrap();
        let log: Vec<String> = log.try_iter().collect();
        assert_eq!(log.len(), 8, "{runtime}: {log:?}");
        assert_eq!(log[7], "work", "{runtime}");
    });
}
