//! Handlers without a library: a loop over trait objects whose calls are boxed futures.

use std::hint::black_box;

use rappel_benches::handlers::{DynHandler, Nothing};
use rappel_benches::host::Host;
use rappel_benches::measure::Row;
use rappel_core::{CallbackManager, LlmNewToken, RunInfo};

use crate::rappel::start;
use crate::token;

const EVENTS: u64 = 1_000;

pub(crate) fn row(handlers: usize, messages: &[String], host: &Host) -> Row {
    let host = host.clone();
    let run = host.block_on(start(&CallbackManager::default(), messages));
    let info = RunInfo::clone(run.info());
    drop(run);
    let handlers: Vec<Box<dyn DynHandler>> =
        (0..handlers).map(|_| Box::new(Nothing) as Box<dyn DynHandler>).collect();
    Row::new("dyn", EVENTS, move |meter| {
        meter.around(|| {
            host.block_on(async {
                for _ in 0..EVENTS {
                    let token = LlmNewToken::new(token());
                    for handler in black_box(&*handlers) {
                        let _ = black_box(handler.on_llm_new_token(&token, &info).await);
                    }
                }
            });
        });
    })
}
