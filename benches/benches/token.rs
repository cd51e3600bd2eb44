//! The cost of a token event without a handler, and with handlers that do nothing.

#![allow(missing_docs, reason = "criterion's macros")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use futures_lite::future::block_on;
use rappel_benches::handlers::Kind;
use rappel_benches::host::Host;
use rappel_benches::rows::start;

fn token(c: &mut Criterion, name: &str, kind: Kind, handlers: usize) {
    let callbacks = kind.register(handlers, Host::Smol.callbacks());
    let mut run = block_on(start(&callbacks));
    c.benchmark_group("token").bench_function(BenchmarkId::new(name, handlers), |b| {
        b.iter(|| block_on(run.on_llm_new_token("token")));
    });
}

fn tokens(c: &mut Criterion) {
    for handlers in [0, 1, 4, 16] {
        token(c, "async", Kind::Async, handlers);
    }
    token(c, "sync", Kind::Awaited, 1);
    token(c, "sync pipelined", Kind::Pipelined, 1);
    token(c, "sync inline", Kind::Inline, 1);
}

criterion_group!(benches, tokens);
criterion_main!(benches);
