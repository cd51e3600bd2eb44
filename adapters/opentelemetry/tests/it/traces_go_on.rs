//! A trace goes on across processes, and its ids are a function of the runs' ids.

use std::time::Duration;

use futures_executor::block_on;
use opentelemetry_sdk::trace::{InMemorySpanExporter, Sampler, SdkTracerProvider, SpanData};
use rappel_core::{
    AsyncCallbackHandler, CallbackManager, ChainStart, EventContext, EventRecord, HandlerResult,
    RunId, ToolStart, TraceParent,
};
use rappel_opentelemetry::opentelemetry::Context;
use rappel_opentelemetry::opentelemetry::trace::{
    Span as _, TraceContextExt, Tracer, TracerProvider,
};
use rappel_opentelemetry::{OpenTelemetry, RunIds, RunTraceParent, Settings, span_id, trace_id};
use rappel_threads::Threads;

struct Setup {
    exporter: InMemorySpanExporter,
    provider: SdkTracerProvider,
    telemetry: OpenTelemetry,
    callbacks: CallbackManager,
}

fn setup(
    change: impl FnOnce(
        opentelemetry_sdk::trace::TracerProviderBuilder,
    ) -> opentelemetry_sdk::trace::TracerProviderBuilder,
) -> Setup {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter.clone());
    let provider = change(provider).build();
    let telemetry = OpenTelemetry::new(&provider, Settings::new());
    let callbacks = CallbackManager::new(Threads::new()).with_async_handler(telemetry.clone());
    Setup { exporter, provider, telemetry, callbacks }
}

fn with_our_ids() -> Setup {
    setup(|provider| provider.with_id_generator(RunIds::new()))
}

impl Setup {
    fn finished(&self) -> Vec<SpanData> {
        self.provider.force_flush().unwrap();
        self.exporter.get_finished_spans().unwrap()
    }

    fn span(&self, name: &str) -> SpanData {
        self.finished().into_iter().find(|span| span.name == name).unwrap()
    }
}

fn chain(name: &str) -> ChainStart {
    ChainStart::new(name, "in")
}

#[test]
fn ids_are_those_of_the_runs() {
    let setup = with_our_ids();
    let (root, child) = block_on(async {
        let root = setup.callbacks.on_chain_start(chain("root")).await.unwrap();
        let child = root.child().on_tool_start(ToolStart::new("child", "")).await.unwrap();
        let ids = (root.id(), child.id());
        child.end("").await.unwrap();
        root.end("").await.unwrap();
        ids
    });
    let of_root = setup.span("root");
    assert_eq!(of_root.span_context.trace_id(), trace_id(root));
    assert_eq!(of_root.span_context.span_id(), span_id(root));
    let of_child = setup.span("execute_tool child");
    assert_eq!(of_child.span_context.trace_id(), trace_id(root));
    assert_eq!(of_child.span_context.span_id(), span_id(child));
    assert_eq!(of_child.parent_span_id, span_id(root));
}

#[test]
fn a_trace_goes_on_in_another_process() {
    let (client, server) = (with_our_ids(), with_our_ids());
    block_on(async {
        let run = client.callbacks.on_chain_start(chain("client")).await.unwrap();
        let header = run.traceparent().unwrap().to_string();
        let caller: TraceParent = header.parse().unwrap();
        let start = chain("server").with_traceparent(caller);
        let served = server.callbacks.on_chain_start(start).await.unwrap();
        let inner = served.child().on_chain_start(chain("inner")).await.unwrap();
        let inner_header = inner.traceparent().unwrap();
        assert_eq!(inner_header.trace_id(), caller.trace_id());
        assert_eq!(inner_header.span_id(), span_id(inner.id()).to_bytes());
        inner.end("").await.unwrap();
        served.end("").await.unwrap();
        run.end("").await.unwrap();
    });
    let (of_client, of_server) = (client.span("client"), server.span("server"));
    assert_eq!(of_server.span_context.trace_id(), of_client.span_context.trace_id());
    assert_eq!(of_server.parent_span_id, of_client.span_context.span_id());
    assert!(of_server.parent_span_is_remote);
    let inner = server.span("inner");
    assert_eq!(inner.span_context.trace_id(), of_client.span_context.trace_id());
    assert_eq!(inner.parent_span_id, of_server.span_context.span_id());
}

#[test]
fn a_caller_that_does_not_sample_is_followed() {
    let setup = with_our_ids();
    block_on(async {
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
        let start = chain("quiet").with_traceparent(caller);
        let run = setup.callbacks.on_chain_start(start).await.unwrap();
        let own = run.traceparent().unwrap();
        assert!(!own.is_sampled());
        assert_eq!(own.trace_id(), caller.trace_id());
        run.end("").await.unwrap();
    });
    assert!(setup.finished().is_empty());
}

#[test]
fn a_root_run_is_under_the_span_that_its_emitter_is_in_and_a_child_under_its_parent() {
    let setup = with_our_ids();
    let tracer = setup.provider.tracer("app");
    let request = tracer.start("request");
    let request_context = request.span_context().clone();
    let cx = Context::new().with_span(request);
    let other = Context::new().with_span(tracer.start("other"));
    let run = {
        let _in_request = cx.attach();
        block_on(setup.callbacks.on_chain_start(chain("root"))).unwrap()
    };
    {
        let _in_other = other.attach();
        block_on(async {
            run.child().on_chain_start(chain("child")).await.unwrap().end("").await.unwrap();
            run.end("").await.unwrap();
        });
    }
    let (root, child) = (setup.span("root"), setup.span("child"));
    assert_eq!(root.parent_span_id, request_context.span_id());
    assert_eq!(root.span_context.trace_id(), request_context.trace_id());
    assert_eq!(child.parent_span_id, root.span_context.span_id(), "not under what is current");
}

/// Asks for the trace context of a run in its start, before the handler of the spans is called.
struct Early(OpenTelemetry, std::sync::mpsc::Sender<Option<TraceParent>>);

impl AsyncCallbackHandler for Early {
    async fn on_chain_start(&self, _: &ChainStart, cx: &EventContext) -> HandlerResult {
        self.1.send(self.0.traceparent(cx))?;
        Ok(())
    }
}

#[test]
fn ids_exist_before_any_handler_ran() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter.clone())
        .with_id_generator(RunIds::new())
        .build();
    let telemetry = OpenTelemetry::new(&provider, Settings::new());
    let (send, early) = std::sync::mpsc::channel();
    let callbacks = CallbackManager::new(Threads::new())
        .with_async_handler(Early(telemetry.clone(), send))
        .with_async_handler(telemetry);
    block_on(async {
        for _ in 0..2 {
            let run = callbacks.on_chain_start(chain("root")).await.unwrap();
            let own = run.traceparent();
            assert!(own.is_some());
            let before = early.recv().unwrap();
            // The first span shows that the provider has the generator.
            assert!(before.is_none() || before == own, "{before:?} {own:?}");
            run.end("").await.unwrap();
        }
        let run = callbacks.on_chain_start(chain("root")).await.unwrap();
        assert_eq!(early.recv().unwrap(), run.traceparent());
        run.end("").await.unwrap();
    });
}

#[test]
fn a_provider_with_other_ids_answers_for_open_runs_only() {
    let setup = setup(|provider| provider);
    block_on(async {
        let run = setup.callbacks.on_chain_start(chain("root")).await.unwrap();
        let info = run.info().clone();
        let own = setup.telemetry.traceparent(&info).unwrap();
        assert_ne!(own.span_id(), span_id(run.id()).to_bytes());
        run.end("").await.unwrap();
        assert!(setup.telemetry.traceparent(&info).is_none());
        let root = setup.span("root");
        assert_eq!(root.span_context.span_id().to_bytes(), own.span_id());
    });
}

#[test]
fn a_replay_gives_the_same_ids_and_times() {
    let live = with_our_ids();
    let replayed = with_our_ids();
    let (send, records) = std::sync::mpsc::channel::<EventRecord>();
    let mut recorder = rappel_core::Recorder::new("here");
    let handler = rappel_core::handler_fn(move |event: &rappel_core::Event, cx: &EventContext| {
        if let Some(record) = recorder.record(event, cx) {
            send.send(record.to_record())?;
        }
        Ok(())
    });
    let callbacks = live.callbacks.clone().with_handler(handler);
    block_on(async {
        crate::scene::agent(&callbacks).await;
        callbacks.flush().await.unwrap();
        let mut replayer = rappel_core::Replayer::new(&replayed.callbacks);
        for record in records.try_iter() {
            replayer.replay(record).await.unwrap();
        }
    });
    let sorted = |setup: &Setup| {
        let mut spans = setup.finished();
        spans.sort_by_key(|span| span.span_context.span_id().to_bytes());
        spans
    };
    let (one, two) = (sorted(&live), sorted(&replayed));
    assert_eq!(one.len(), 6);
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(&two) {
        assert_eq!(one.span_context.trace_id(), two.span_context.trace_id());
        assert_eq!(one.span_context.span_id(), two.span_context.span_id());
        assert_eq!(one.parent_span_id, two.parent_span_id);
        assert_eq!((&one.name, &one.status), (&two.name, &two.status));
        let micros = |time: std::time::SystemTime| {
            time.duration_since(std::time::UNIX_EPOCH).unwrap().as_micros()
        };
        assert_eq!(micros(one.start_time), micros(two.start_time));
        assert_eq!(micros(one.end_time), micros(two.end_time));
        assert_eq!(one.events.len(), two.events.len());
        for event in two.events.iter() {
            let at = event.timestamp;
            assert!(two.start_time <= at && at <= two.end_time, "{event:?}");
        }
    }
}

#[test]
fn a_run_whose_parent_has_ended_or_is_elsewhere_stays_in_the_trace() {
    let setup = with_our_ids();
    let (parent, root) = (RunId::from_bytes([1; 16]), RunId::from_bytes([2; 16]));
    block_on(async {
        // This shows that the provider has the generator.
        setup.callbacks.on_chain_start(chain("first")).await.unwrap().end("").await.unwrap();
        let start = chain("remote").with_remote_parent(parent, root);
        setup.callbacks.on_chain_start(start).await.unwrap().end("").await.unwrap();
    });
    let remote = setup.span("remote");
    assert_eq!(remote.span_context.trace_id(), trace_id(root));
    assert_eq!(remote.parent_span_id, span_id(parent));
}

#[test]
fn samplers_that_look_at_the_id_sample_whole_traces() {
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.5)));
    let setup = setup(|provider| provider.with_id_generator(RunIds::new()).with_sampler(sampler));
    block_on(async {
        for _ in 0..100 {
            crate::scene::small(&setup.callbacks).await;
        }
    });
    let spans = setup.finished();
    assert!(spans.len() % 3 == 0 && (60..240).contains(&spans.len()), "{}", spans.len());
    let report = block_on(setup.callbacks.shutdown(Duration::from_secs(5))).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

/// Starts a run under `callbacks`, and returns its span.
async fn late(setup: &Setup, callbacks: &CallbackManager) -> Option<SpanData> {
    callbacks.on_chain_start(chain("late")).await.unwrap().end("").await.unwrap();
    setup.finished().into_iter().find(|span| span.name == "late")
}

#[test]
fn a_run_that_starts_after_its_parent_has_ended_stays_in_the_callers_trace() {
    for root_is_open in [true, false] {
        let setup = with_our_ids();
        let caller: TraceParent =
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
        block_on(async {
            let start = chain("root").with_traceparent(caller);
            let root = setup.callbacks.on_chain_start(start).await.unwrap();
            let step = root.child().on_chain_start(chain("step")).await.unwrap();
            // Work that goes on in the background.
            let (background, parent) = (step.child().detached(), step.id());
            step.end("").await.unwrap();
            let root =
                if root_is_open { Some(root) } else { root.end("").await.map(|()| None).unwrap() };
            let span = late(&setup, &background).await.unwrap();
            assert_eq!(span.span_context.trace_id().to_bytes(), caller.trace_id());
            assert_eq!(span.parent_span_id, span_id(parent));
            drop(root);
        });
    }
}

#[test]
fn a_run_that_starts_after_its_parent_has_ended_is_sampled_as_its_trace_is() {
    let setup = with_our_ids();
    block_on(async {
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
        let start = chain("root").with_traceparent(caller);
        let root = setup.callbacks.on_chain_start(start).await.unwrap();
        let background = root.child().detached();
        root.end("").await.unwrap();
        assert!(late(&setup, &background).await.is_none());
    });
}

#[test]
fn with_other_ids_a_run_that_starts_after_its_parent_has_ended_is_under_the_root() {
    let setup = setup(|provider| provider);
    block_on(async {
        let root = setup.callbacks.on_chain_start(chain("root")).await.unwrap();
        let background = root.child().detached();
        root.end("").await.unwrap();
        let (root, late) = (setup.span("root"), late(&setup, &background).await.unwrap());
        assert_eq!(late.span_context.trace_id(), root.span_context.trace_id());
        assert_eq!(late.parent_span_id, root.span_context.span_id());
    });
}
