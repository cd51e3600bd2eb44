//! How a replayed trace came to this process. The other tests of replays are in the crate `tests`.
#![allow(clippy::unwrap_used, reason = "tests")]

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use futures_util::future::{Either, select};

use super::Replayer;
use crate::model::record::EventRecord;
use crate::{CallbackManager, Event, EventContext, RemoteDelivery, RunError, async_handler_fn};

const START: &str = r#"{"v":1,"kind":"on_llm_start","run_kind":"llm","name":"m",
    "run":"00000000-0000-0000-0000-000000000001","parent":null,
    "root":"00000000-0000-0000-0000-000000000001","seq":0,"tseq":0,"source":"s","time":0,
    "data":{"name":"m","prompt":"Tell me a joke"}}"#;

/// Replays the start of a run and closes it, on a manager with handlers in place.
fn replay(callbacks: CallbackManager, driver: crate::Driver, delivery: Option<RemoteDelivery>) {
    let replayed = async move {
        let mut replayer = Replayer::new(&callbacks);
        if let Some(delivery) = delivery {
            replayer = replayer.delivered(delivery);
        }
        let record: EventRecord = serde_json::from_str(START).unwrap();
        replayer.replay(record).await.unwrap();
        replayer.close_open(RunError::HandedOver).await;
    };
    match futures_executor::block_on(select(alloc::boxed::Box::pin(replayed), driver)) {
        Either::Left(((), _)) | Either::Right(_) => {}
    }
}

#[test]
fn handlers_are_told_how_a_trace_was_delivered_also_of_ends_that_are_made_up() {
    let delivery = RemoteDelivery::new(3, 7).attempt(2);
    for expected in [Some(delivery), None] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seen_by = seen.clone();
        let (callbacks, driver) = CallbackManager::pair();
        let callbacks = callbacks.with_async_handler(async_handler_fn(
            async move |event: &Event, cx: &EventContext| {
                let seen = (event.kind().to_string(), cx.remote_delivery());
                seen_by.lock().unwrap().push(seen);
                Ok(())
            },
        ));
        replay(callbacks, driver, expected);
        let seen = seen.lock().unwrap();
        let kinds: Vec<_> = seen.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["on_llm_start", "on_llm_error"]);
        assert!(seen.iter().all(|(_, delivery)| *delivery == expected), "{seen:?}");
    }
}

#[test]
fn a_further_report_of_failures_is_called_beside_the_first() {
    let (first, second) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (of_first, of_second, before) = (first.clone(), second.clone(), first.clone());
    let (callbacks, driver) = CallbackManager::pair();
    let callbacks = callbacks
        .with_async_handler(async_handler_fn(async |_: &Event, _: &EventContext| {
            Err("it is broken".into())
        }))
        .on_handler_failure(move |_| {
            of_first.fetch_add(1, Ordering::SeqCst);
        })
        .also_on_handler_failure(move |failure| {
            assert_eq!(failure.cause.to_string(), "it is broken");
            of_second.fetch_add(before.load(Ordering::SeqCst), Ordering::SeqCst);
        });
    replay(callbacks, driver, None);
    // The first report of each failure came before.
    assert_eq!((first.load(Ordering::SeqCst), second.load(Ordering::SeqCst)), (2, 3));
}
