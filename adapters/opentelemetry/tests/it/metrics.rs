//! Metrics of models, tools and handlers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_executor::block_on;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use rappel_core::{
    CallbackHandler, CallbackManager, ChainStart, EventContext, HandlerResult, LlmResult,
    TokenUsage, handler_fn,
};
use rappel_opentelemetry::{OpenTelemetry, SemConv, Settings, observe_handlers, otlp};
use rappel_threads::Threads;

use crate::collector::Collector;
use crate::scene;

/// The points of each metric: its attributes and what it counts, as text.
fn metrics_of(
    settings: Settings,
    scene: impl AsyncFnOnce(&CallbackManager),
) -> BTreeMap<String, Vec<String>> {
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let tracers = SdkTracerProvider::builder().build();
    let telemetry = OpenTelemetry::with_metrics(&tracers, &meters, settings);
    let failing = handler_fn(|_: &rappel_core::Event, _: &_| Err("a bug".into()));
    let callbacks = CallbackManager::new(Threads::new())
        .on_handler_failure(|_| {})
        .with_handler(failing)
        .with_async_handler(telemetry);
    observe_handlers(&meters, &callbacks);
    block_on(scene(&callbacks));
    block_on(callbacks.flush()).unwrap();
    meters.force_flush().unwrap();
    let mut all = BTreeMap::<String, Vec<String>>::new();
    for resource in exporter.get_finished_metrics().unwrap() {
        for metric in resource.scope_metrics().flat_map(|scope| scope.metrics()) {
            all.entry(metric.name().to_owned()).or_default().extend(points(metric.data()));
        }
    }
    all
}

fn points(data: &AggregatedMetrics) -> Vec<String> {
    fn labels<'a>(
        attributes: impl Iterator<Item = &'a rappel_opentelemetry::opentelemetry::KeyValue>,
    ) -> String {
        let mut all: Vec<_> = attributes.map(|kv| format!("{}={}", kv.key, kv.value)).collect();
        all.sort();
        all.join(" ")
    }
    match data {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => sum
            .data_points()
            .map(|point| format!("{} {}", labels(point.attributes()), point.value()))
            .collect(),
        AggregatedMetrics::U64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|point| format!("{} {}", labels(point.attributes()), point.sum()))
            .collect(),
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|point| format!("{} n={}", labels(point.attributes()), point.count()))
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn has(points: &[String], parts: &[&str]) {
    let found = points.iter().any(|point| parts.iter().all(|part| point.contains(part)));
    assert!(found, "{parts:?} is not in {points:#?}");
}

#[test]
fn tokens_and_durations_are_measured_by_the_conventions() {
    let metrics = metrics_of(Settings::new(), scene::agent);
    let tokens = &metrics["gen_ai.client.token.usage"];
    assert_eq!(tokens.len(), 2);
    let model = "gen_ai.request.model=gpt-4o-mini gen_ai.response.model=gpt-4o-mini-2024-07-18";
    has(tokens, &["gen_ai.provider.name=openai", model, "gen_ai.token.type=input", " 120"]);
    has(tokens, &["server.address=api.openai.com", "gen_ai.token.type=output", " 30"]);
    let durations = &metrics["gen_ai.client.operation.duration"];
    assert_eq!(durations.len(), 5, "one for each run but the chain's: {durations:#?}");
    has(durations, &["gen_ai.operation.name=execute_tool gen_ai.tool.name=weather n=1"]);
    has(durations, &["error.type=cancelled", "gen_ai.request.model=old-model"]);
    let first = &metrics["gen_ai.client.operation.time_to_first_chunk"];
    assert_eq!(first.len(), 1, "only one model wrote tokens: {first:#?}");
}

#[test]
fn the_newest_conventions_have_other_metrics() {
    let metrics = metrics_of(Settings::new().semconv(SemConv::Latest), scene::agent);
    assert!(!metrics.contains_key("gen_ai.client.token.usage"));
    let usage = "gen_ai.client.inference.usage";
    for (name, count) in [
        ("input_tokens", " 120"),
        ("output_tokens", " 30"),
        ("cache_read.input_tokens", " 100"),
        ("cache_write.input_tokens", " 20"),
        ("reasoning.output_tokens", " 12"),
    ] {
        has(&metrics[&format!("{usage}.{name}")], &["gen_ai.token.modality=unknown", count]);
    }
    for name in [
        "gen_ai.client.inference.duration",
        "gen_ai.client.inference.time_to_first_chunk",
        "gen_ai.execute_tool.duration",
        "gen_ai.invoke_agent.duration",
        "gen_ai.client.operation.duration",
    ] {
        assert!(metrics.contains_key(name), "{name}");
    }
}

#[test]
fn a_run_that_another_process_goes_on_with_is_measured_there() {
    for semconv in [SemConv::V1_41, SemConv::Latest] {
        let metrics = metrics_of(Settings::new().semconv(semconv), scene::handed_over);
        let of_runs = metrics.iter().filter(|(name, _)| name.starts_with("gen_ai."));
        let points: Vec<_> = of_runs.filter(|(_, points)| !points.is_empty()).collect();
        assert!(points.is_empty(), "{points:#?}");
    }
}

#[test]
fn failures_of_handlers_are_a_metric() {
    let metrics = metrics_of(Settings::new(), scene::agent);
    let failures = &metrics["rappel.handler.failures"];
    assert_eq!(failures.len(), 2, "one for each handler");
    has(failures, &["rappel.handler.name=OpenTelemetry 0"]);
    assert!(failures.iter().any(|point| !point.ends_with(" 0")), "{failures:#?}");
    for name in ["rappel.handler.dropped_events", "rappel.handler.refused_runs"] {
        assert!(metrics.contains_key(name), "{name}");
    }
}

#[test]
fn metrics_are_sent_if_they_are_switched_on() {
    for on in [false, true] {
        let collector = Collector::start([]);
        let telemetry = otlp().endpoint(collector.url());
        let telemetry = if on { telemetry.metrics() } else { telemetry }.build().unwrap();
        let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
        block_on(scene::agent(&callbacks));
        let report = block_on(callbacks.shutdown(Duration::from_secs(20))).unwrap();
        assert!(report.is_clean(), "{report:?}");
        let paths: Vec<_> = collector.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(paths.contains(&"/v1/metrics".to_owned()), on, "{paths:?}");
    }
}

#[test]
fn tokens_that_no_model_has_do_not_overflow() {
    for semconv in [SemConv::V1_41, SemConv::Latest] {
        let metrics = metrics_of(Settings::new().semconv(semconv), async |callbacks| {
            for _ in 0..3 {
                let start = rappel_core::LlmStart::new("m", "x");
                let run = callbacks.on_llm_start(start).await.unwrap();
                let usage = TokenUsage::new(u64::MAX, u64::MAX).with_reasoning_tokens(u64::MAX);
                run.end(LlmResult::new().with_usage(usage)).await.unwrap();
            }
        });
        has(&metrics["rappel.handler.failures"], &["rappel.handler.name=OpenTelemetry 0"]);
    }
}

#[test]
fn failures_of_handlers_with_the_same_name_are_added() {
    struct Log(bool);
    impl CallbackHandler for Log {
        fn on_event(&mut self, _: &rappel_core::Event, _: &EventContext) -> HandlerResult {
            if self.0 { Err("the disk is full".into()) } else { Ok(()) }
        }
    }
    let exporter = InMemoryMetricExporter::default();
    let meters = SdkMeterProvider::builder().with_periodic_exporter(exporter.clone()).build();
    let callbacks = CallbackManager::new(Threads::new()).on_handler_failure(|_| {});
    let callbacks = callbacks.with_handler(Log(true)).with_handler(Log(false));
    let callbacks = callbacks.with_handler(Log(true)).with_handler(Log(false));
    observe_handlers(&meters, &callbacks);
    block_on(async {
        callbacks.on_chain_start(ChainStart::new("c", "")).await.unwrap().end("").await.unwrap();
        callbacks.flush().await.unwrap();
    });
    let failed: usize = callbacks.stats().iter().map(|stats| stats.failed).sum();
    meters.force_flush().unwrap();
    let all = exporter.get_finished_metrics().unwrap();
    let metrics = all.iter().flat_map(|resource| resource.scope_metrics());
    let mut metrics = metrics.flat_map(|scope| scope.metrics());
    let failures = metrics.find(|metric| metric.name() == "rappel.handler.failures").unwrap();
    let points = points(failures.data());
    assert_eq!(points.len(), 1, "{points:?}");
    assert!(failed >= 2 && points[0].ends_with(&format!(" {failed}")), "{failed}: {points:?}");
}
