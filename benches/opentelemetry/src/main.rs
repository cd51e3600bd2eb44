//! What a span and a token cost, beside `tracing` with `tracing-opentelemetry`.
//!
//! cargo run --release
//!
//! All rows make the same spans with the same attributes, by the conventions of version 1.41 without
//! contents and without OpenInference, and give them to a provider of the same SDK whose processor
//! drops them. A trace is a chain, a model under it and a tool under that. Rows are measured in turn,
//! slice by slice. `--check` fails if the handler costs more than `tracing` does.
//!
//! - `rappel-opentelemetry`: the handler, in place.
//! - `by hand`: `tracing` spans in the code itself, without rappel.
//! - `rappel-tracing`: the handler that makes `tracing` spans, inline.
//! - `a handler that does nothing`: what the runs themselves cost.
//!
//! By hand a token is an event of `tracing` in the model's span: the nearest that a program can do
//! which wants to see tokens. The handlers look for the first token only.

use std::time::{Duration, Instant};

use futures_executor::block_on;
use rappel_core::{
    Awaited, CallbackManager, ChainStart, ChatModelStart, Generation, LlmResult, LlmRun, Map,
    Message, TokenUsage, ToolStart, Value, async_handler_fn, json,
};
use rappel_opentelemetry::opentelemetry::trace::TracerProvider;
use rappel_opentelemetry::opentelemetry_sdk::error::OTelSdkResult;
use rappel_opentelemetry::opentelemetry_sdk::trace::{
    SdkTracerProvider, Span as SdkSpan, SpanData, SpanProcessor,
};
use rappel_opentelemetry::{OpenTelemetry, RunIds, Settings};
use rappel_threads::Threads;
use rappel_tracing::Spans;
use tracing::{Level, Span};
use tracing_subscriber::layer::SubscriberExt;

/// Takes spans and drops them.
#[derive(Debug)]
struct Drops;

impl SpanProcessor for Drops {
    fn on_start(&self, _: &mut SdkSpan, _: &rappel_opentelemetry::opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        std::hint::black_box(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn params() -> Map<String, Value> {
    let params = json!({ "model": "gpt-4o-mini", "temperature": 0.5, "max_tokens": 100 });
    params.as_object().cloned().unwrap_or_default()
}

fn model_start() -> ChatModelStart {
    ChatModelStart::new("ChatOpenAi", vec![Message::human("hi")])
        .with_invocation_params(params())
        .with_provider("openai")
        .with_server("api.openai.com", 443)
}

fn result() -> LlmResult {
    LlmResult::new()
        .with_generation(Generation::new("ok").with_finish_reason("stop"))
        .with_usage(TokenUsage::new(12, 3).with_cached_tokens(8))
        .with_model_name("gpt-4o-mini-2024-07-18")
}

/// A trace of three spans, with events.
async fn trace(callbacks: &CallbackManager) {
    let chain = callbacks.on_chain_start(ChainStart::new("answer", "in")).await.expect("a run");
    let start = model_start();
    let mut model = chain.child().on_chat_model_start(start).await.expect("a run");
    let _ = model.on_llm_new_token("ok").await;
    let start = ToolStart::new("weather", "x").with_tool_call_id("call-1");
    let tool = model.child().on_tool_start(start).await.expect("a run");
    let _ = tool.end("y").await;
    let _ = model.end(result()).await;
    let _ = chain.end("out").await;
}

/// The same spans by hand.
fn trace_by_hand() {
    use tracing::field::Empty;
    let chain = tracing::span!(Level::INFO, "chain", otel.name = "answer", otel.kind = "internal");
    let _in_chain = chain.enter();
    let started = Instant::now();
    let model = tracing::span!(
        Level::INFO,
        "chat",
        otel.name = %format_args!("chat {}", "gpt-4o-mini"),
        otel.kind = "client",
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = "openai",
        gen_ai.request.model = "gpt-4o-mini",
        gen_ai.request.max_tokens = 100,
        gen_ai.request.temperature = 0.5,
        server.address = "api.openai.com",
        server.port = 443,
        gen_ai.response.model = Empty,
        gen_ai.response.finish_reasons = Empty,
        gen_ai.response.time_to_first_chunk = Empty,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.usage.cache_read.input_tokens = Empty,
    );
    {
        let _in_model = model.enter();
        model.record("gen_ai.response.time_to_first_chunk", started.elapsed().as_secs_f64());
        let tool = tracing::span!(
            Level::INFO,
            "execute_tool",
            otel.name = %format_args!("execute_tool {}", "weather"),
            otel.kind = "internal",
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = "weather",
            gen_ai.tool.call.id = "call-1",
        );
        let _in_tool = tool.enter();
    }
    model.record("gen_ai.response.model", "gpt-4o-mini-2024-07-18");
    model.record("gen_ai.response.finish_reasons", "[\"stop\"]");
    model.record("gen_ai.usage.input_tokens", 12);
    model.record("gen_ai.usage.output_tokens", 3);
    model.record("gen_ai.usage.cache_read.input_tokens", 8);
}

const SLICE: Duration = Duration::from_millis(40);
const SLICES: usize = 15;

/// Nanoseconds for each of `units` in a call of `work`.
fn slice(units: u32, work: &mut dyn FnMut()) -> f64 {
    let (started, mut calls) = (Instant::now(), 0_u32);
    while started.elapsed() < SLICE {
        (0..16).for_each(|_| work());
        calls += 16;
    }
    started.elapsed().as_nanos() as f64 / f64::from(calls * units)
}

type Row<'a> = (&'static str, Box<dyn FnMut() + 'a>);

/// The medians of rows that are measured in turn.
fn medians(units: u32, rows: &mut [Row<'_>]) -> Vec<f64> {
    let mut all = vec![Vec::new(); rows.len()];
    for turn in 0..=SLICES {
        for (times, (_, work)) in all.iter_mut().zip(rows.iter_mut()) {
            let time = slice(units, work);
            if turn > 0 {
                times.push(time);
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    all.iter_mut().map(median).collect()
}

/// Prints a table, and returns the medians.
fn table(what: &str, units: u32, mut rows: Vec<Row<'_>>) -> Vec<f64> {
    let medians = medians(units, &mut rows);
    println!("| {what} | ns | rappel-opentelemetry is |\n|---|---|---|");
    for ((name, _), median) in rows.iter().zip(&medians) {
        println!("| {name} | {median:.0} | {:.2} × |", medians[0] / median);
    }
    println!();
    medians
}

/// Tokens of a run that stays open.
const TOKENS: u32 = 256;

fn tokens(run: &mut LlmRun) {
    block_on(async {
        for _ in 0..TOKENS {
            let _ = run.on_llm_new_token("ok").await;
        }
    });
}

fn main() {
    let provider = || {
        let provider = SdkTracerProvider::builder().with_span_processor(Drops);
        provider.with_id_generator(RunIds::new()).build()
    };
    let (ours, theirs) = (provider(), provider());
    let layer = tracing_opentelemetry::layer().with_tracer(theirs.tracer("bench"));
    let layer = layer.with_location(false).with_threads(false).with_tracked_inactivity(false);
    let subscriber = tracing_subscriber::registry().with(layer);
    let _default = tracing::subscriber::set_default(subscriber);

    let settings = Settings::new().openinference(false);
    let telemetry = OpenTelemetry::new(&ours, settings);
    let callbacks = || CallbackManager::new(Threads::new());
    let one = callbacks().with_async_handler(telemetry);
    let spans = Spans::new().with_time_to_first_token();
    let two = callbacks().with_handler_options(spans, Awaited::new().inline());
    let whole = callbacks().with_async_handler(OpenTelemetry::new(&ours, Settings::new()));

    let nothing = callbacks().with_async_handler(async_handler_fn(async |_, _| Ok(())));

    let of_spans = table(
        "a span, with its run and its events",
        3,
        vec![
            ("rappel-opentelemetry", Box::new(|| block_on(trace(&one)))),
            ("`tracing` by hand, with tracing-opentelemetry", Box::new(trace_by_hand)),
            ("rappel-tracing, with tracing-opentelemetry", Box::new(|| block_on(trace(&two)))),
            ("rappel with a handler that does nothing", Box::new(|| block_on(trace(&nothing)))),
            ("rappel-opentelemetry with OpenInference", Box::new(|| block_on(trace(&whole)))),
        ],
    );
    let start = |callbacks: &CallbackManager| {
        let run = block_on(callbacks.on_chat_model_start(model_start()));
        run.expect("a run")
    };
    let (mut one, mut two) = (start(&one), start(&two));
    let of_tokens = {
        // A new span now and then: its events are limited to 128, and cheaper beyond.
        let by_hand = || {
            for _ in 0..TOKENS / 128 {
                let span: Span = tracing::span!(Level::INFO, "chat");
                let _in_span = span.enter();
                for _ in 0..128 {
                    tracing::event!(Level::INFO, token = "ok");
                }
            }
        };
        table(
            "a token",
            TOKENS,
            vec![
                ("rappel-opentelemetry", Box::new(|| tokens(&mut one))),
                ("`tracing` by hand, with tracing-opentelemetry", Box::new(by_hand)),
                ("rappel-tracing, with tracing-opentelemetry", Box::new(|| tokens(&mut two))),
            ],
        )
    };
    let [ours, by_hand, handler, nothing, _] = of_spans[..] else { unreachable!("five rows") };
    let [token, token_by_hand, token_of_handler] = of_tokens[..] else {
        unreachable!("three rows")
    };
    let checks = [
        ("a span, to rappel-tracing's", ours / handler),
        ("what the handler adds to a run, to a span by hand", (ours - nothing) / by_hand),
        ("a token, to rappel-tracing's", token / token_of_handler),
        ("a token, to one by hand", token / token_by_hand),
    ];
    for (what, ratio) in checks {
        println!("{what}: {ratio:.2} ×");
    }
    if std::env::args().any(|argument| argument == "--check") {
        let over: Vec<_> = checks.iter().filter(|(_, ratio)| *ratio > 1.0).collect();
        assert!(over.is_empty(), "more than 1.0 ×: {over:?}");
    }
}
