//! The scene on a JavaScript event loop, and this runtime's timer, clock and randomness.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{Either, select};
use rappel_local::prelude::*;
use rappel_wasm::prelude::*;
use rappel_wasm::{Clock, HandlerFuture, JavaScript, Timer};
use wasm_bindgen::prelude::wasm_bindgen;

#[path = "../../scene/scene.rs"]
mod scene;

/// Plays the scene, and returns its log.
#[wasm_bindgen]
pub async fn play() -> Result<String, String> {
    let log = Arc::new(Mutex::new(String::new()));
    let written = log.clone();
    let write = move |who: &'static str, what: String| {
        written.lock().unwrap().push_str(&format!("{who}: {what}\n"))
    };
    scene::play(Wasm::new(), Arc::new(write)).await.map_err(|error| error.to_string())?;
    let log = log.lock().unwrap().clone();
    Ok(log)
}

/// Checks the timer and the clock.
#[wasm_bindgen]
pub async fn time() -> Result<(), String> {
    let wasm = Wasm::new();
    let before = wasm.now();
    wasm.sleep(Duration::from_millis(20)).await;
    check(wasm.now() - before >= Duration::from_millis(20), "it slept for long enough")?;
    let long = wasm.sleep(Duration::MAX);
    let short = wasm.sleep(Duration::from_millis(1));
    check(
        matches!(select(long, short).await, Either::Right(_)),
        "a long sleep goes on, and can be dropped",
    )?;
    let year = JavaScript.now().ok_or("no clock")?.as_secs() / 31_556_952 + 1970;
    check((2024..2200).contains(&year), "the clock has the right year")
}

/// A handler that hangs times out, and ids differ.
#[wasm_bindgen]
pub async fn hang() -> Result<(), String> {
    let failures = Arc::new(Mutex::new(Vec::new()));
    let reported = failures.clone();
    let callbacks = Wasm::callbacks()
        .on_handler_failure(move |failure| reported.lock().unwrap().push(failure.to_string()))
        .with_async_handler_options(
            Hangs,
            HandlerOptions::new().name("hangs").timeout(Duration::from_millis(5)),
        );
    let start = || callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke"));
    let one = start().await.map_err(|error| error.to_string())?;
    let other = start().await.map_err(|error| error.to_string())?;
    check(one.id() != other.id(), "ids differ")?;
    let failures = failures.lock().unwrap().join("\n");
    let expected = "handler `hangs` failed in on_llm_start: no answer within 5ms";
    check(failures == format!("{expected}\n{expected}"), &failures)
}

/// Handlers that are not `Send` get a run from its start to its end, and time out.
#[wasm_bindgen]
pub async fn local() -> Result<(), String> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let failures = Arc::new(Mutex::new(0));
    let (sync, asynchronous, failed) = (seen.clone(), seen.clone(), failures.clone());
    let here = Local::new(local_spawn_fn(|task| {
        wasm_bindgen_futures::spawn_local(task);
        Ok(())
    }));
    let here = here.with_timer(Wasm::new());
    let callbacks = LocalCallbackManager::with_sources(here, JavaScript, JavaScript)
        .on_handler_failure(move |_| *failed.lock().unwrap() += 1)
        .with_handler(handler_fn(move |event, _| {
            sync.borrow_mut().push(event.kind());
            Ok(())
        }))
        .with_async_handler(local_async_handler_fn(async move |event: &Event, _: &EventContext| {
            asynchronous.borrow_mut().push(event.kind());
            Ok(())
        }))
        .with_async_handler_options(
            local_async_handler_fn(async |_: &Event, _: &EventContext| {
                std::future::pending().await
            }),
            HandlerOptions::new().timeout(Duration::from_millis(1)),
        );
    let run = callbacks.on_llm_start(LlmStart::new("my-model", "Tell me a joke")).await;
    drop(run.map_err(|error| error.to_string())?);
    callbacks.flush().await.map_err(|error| error.to_string())?;
    let mut seen = seen.borrow().clone();
    seen.sort();
    check(
        seen == [
            EventKind::LlmStart,
            EventKind::LlmStart,
            EventKind::LlmError,
            EventKind::LlmError,
        ],
        &format!("{seen:?}"),
    )?;
    check(*failures.lock().unwrap() == 2, "one failure for each event")
}

struct Hangs;

impl AsyncCallbackHandler for Hangs {
    fn on_event<'a>(&'a self, _: &'a Event, _: &'a EventContext) -> HandlerFuture<'a> {
        HandlerFuture::new(std::future::pending())
    }
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
