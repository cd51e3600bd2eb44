//! lc-callbacks (the callbacks of langchainrust): `CallbackManager::dispatch_llm_new_token`, on
//! tokio's current-thread runtime.
//!
//! It copies the run and the token once and then once per handler, and calls each handler in its
//! own task, which it waits for. The run holds its inputs, here the texts of the messages. So each
//! token of a run with a long history costs more.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use lc_callbacks::{CallbackHandler, CallbackManager, RunTree, RunType};
use lc_schema::Message;
use rappel_benches::host::Host;
use rappel_benches::measure::Row;
use serde_json::json;

use crate::token;

/// Few, because each takes microseconds.
const EVENTS: u64 = 100;

struct Nothing;

#[async_trait]
impl CallbackHandler for Nothing {
    async fn on_run_start(&self, run: &RunTree) {
        black_box(run);
    }

    async fn on_run_end(&self, run: &RunTree) {
        black_box(run);
    }

    async fn on_run_error(&self, run: &RunTree, _: &str) {
        black_box(run);
    }

    async fn on_llm_new_token(&self, _: &RunTree, token: &str) {
        black_box(token);
    }
}

pub(crate) fn row(handlers: usize, messages: &[String], host: &Host) -> Row {
    let host = host.clone();
    let callbacks = (0..handlers)
        .fold(CallbackManager::new(), |callbacks, _| callbacks.add_handler(Arc::new(Nothing)));
    let run =
        RunTree::new("model:chat", RunType::Llm, json!({ "messages": messages, "model": "model" }));
    let messages: Vec<Message> = messages.iter().map(Message::human).collect();
    host.block_on(callbacks.dispatch_llm_start(&run, &messages));
    Row::new("lc-callbacks", EVENTS, move |meter| {
        meter.around(|| {
            host.block_on(async {
                for _ in 0..EVENTS {
                    callbacks.dispatch_llm_new_token(&run, token()).await;
                }
            });
        });
    })
}
