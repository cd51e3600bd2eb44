//! What does a token event cost, with nobody listening, and with handlers that do nothing?

#![allow(missing_docs, reason = "criterion's macros")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_lite::future::block_on;
use rappel_smol::prelude::*;

struct Nothing;

impl AsyncCallbackHandler for Nothing {
    async fn on_llm_new_token(&self, _: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        Ok(())
    }
}

impl CallbackHandler for Nothing {
    fn on_llm_new_token(&mut self, _: &LlmNewToken, _: &RunInfo) -> HandlerResult {
        Ok(())
    }
}

fn token(c: &mut Criterion, name: &str, callbacks: &CallbackManager, handlers: usize) {
    let start = callbacks.on_llm_start(LlmStart::new("model", "prompt"));
    let run = block_on(start).unwrap_or_else(|error| error.into_run());
    c.benchmark_group("token").bench_function(BenchmarkId::new(name, handlers), |b| {
        b.iter(|| block_on(run.on_llm_new_token("token")));
    });
}

fn tokens(c: &mut Criterion) {
    let empty = CallbackManager::new(Smol::global()).erase();
    token(c, "nobody", &empty, 0);
    for handlers in [1, 4, 16] {
        let callbacks = (0..handlers).fold(empty.clone(), |callbacks, _| callbacks.with_async_handler(Nothing));
        token(c, "async", &callbacks, handlers);
    }
    token(c, "sync", &empty.clone().with_handler(Nothing), 1);
    let pipelined = HandlerOptions::new().delivery(Pipelined { capacity: 256 });
    token(c, "sync pipelined", &empty.clone().with_handler_options(Nothing, pipelined), 1);
    let inline = HandlerOptions::new().run_inline(true);
    token(c, "sync inline", &empty.with_handler_options(Nothing, inline), 1);
}

criterion_group!(benches, tokens);
criterion_main!(benches);
