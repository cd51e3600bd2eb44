//! What an open stream holds does not grow with the events that it has had.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::System;
use std::time::Duration;

use futures_util::StreamExt as _;
use rappel_core::{CallbackManager, ChainStart, ChatModelStart, Message};
use rappel_streams::{
    Encoder, EventFilter, Sse, ag_ui, event_stream, langchain, ui_message_stream,
};
use rappel_tokio::Tokio;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const STREAMS: usize = 50;
const FRAMES: [usize; 2] = [200, 500];

fn bytes_in_use() -> usize {
    let stats = COUNTED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The bytes of an open stream after so many frames, and after so many more.
async fn bytes_of_a_stream<E: Encoder + Unpin>(encoder: impl Fn() -> E) -> (usize, usize) {
    // The partial result of a model's run has a limit of its own.
    let manager = CallbackManager::new(Tokio::current()).partial_limit(0);
    let before = bytes_in_use();
    let mut bodies = Vec::with_capacity(STREAMS);
    for _ in 0..STREAMS {
        let stream = event_stream(EventFilter::new());
        let callbacks = stream.attach(&manager).unwrap();
        let work = async move {
            let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
            let start = ChatModelStart::new("m", [Message::human("q")]);
            let mut run = chain.child().on_chat_model_start(start).await.unwrap();
            loop {
                run.on_llm_new_token("token").await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        bodies.push(Sse::new(stream.drive(work), encoder()));
    }
    let mut bytes = [0, 0];
    for (bytes, frames) in bytes.iter_mut().zip(FRAMES) {
        for body in &mut bodies {
            for _ in 0..frames {
                drop(body.next().await.unwrap());
            }
        }
        *bytes = (bytes_in_use() - before) / STREAMS;
    }
    // So that what these streams hold is not freed while the next ones are measured.
    drop(bodies);
    manager.shutdown(Duration::from_secs(60)).await.unwrap();
    (bytes[0], bytes[1])
}

#[tokio::test]
async fn the_bytes_of_an_open_stream_do_not_grow_with_its_events() {
    // What the process allocates once.
    bytes_of_a_stream(ui_message_stream).await;
    let of = [
        ("ui_message_stream", bytes_of_a_stream(ui_message_stream).await),
        ("ag_ui", bytes_of_a_stream(|| ag_ui("thread", "run")).await),
        ("langchain", bytes_of_a_stream(langchain).await),
    ];
    println!("bytes of an open stream after {FRAMES:?} frames: {of:?}");
    for (encoder, (early, late)) in of {
        assert!(late <= early + 64, "{encoder}: {early} bytes, then {late}");
        assert!(late < 8 * 1024, "{encoder}: {late} bytes");
    }
}
