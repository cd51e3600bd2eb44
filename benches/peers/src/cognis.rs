//! cognis-core: `RunnableConfig::emit` of `Event::OnLlmToken` to a `CallbackManager`.
//!
//! Handlers are sync only, and are called inline. That is less work than awaiting async ones, so it
//! is compared with rappel's inline handlers too. An event owns its text: one allocation per token.
//! There are no open and closed runs and no order, and a handler's panic is not caught.

use std::hint::black_box;
use std::sync::Arc;

use cognis_core::{CallbackHandler, CallbackManager, Event, RunnableConfig};
use rappel_benches::measure::Row;
use serde_json::json;
use uuid::Uuid;

use crate::token;

const EVENTS: u64 = 1_000;

struct Nothing;

impl CallbackHandler for Nothing {
    fn on_llm_token(&self, token: &str, _: Uuid) {
        black_box(token);
    }
}

pub(crate) fn row(handlers: usize, messages: &[String]) -> Row {
    let callbacks = (0..handlers)
        .fold(CallbackManager::new(), |callbacks, _| callbacks.push(Arc::new(Nothing)));
    let config = RunnableConfig::new().with_observer(Arc::new(callbacks));
    let run_id = config.run_id;
    config.emit(&Event::OnStart {
        runnable: "model".to_owned(),
        run_id,
        input: json!({ "messages": messages }),
    });
    Row::new("cognis-core", EVENTS, move |meter| {
        meter.around(|| {
            for _ in 0..EVENTS {
                let token = token().to_owned();
                black_box(&config).emit(&Event::OnLlmToken { token, run_id });
            }
        });
    })
}
