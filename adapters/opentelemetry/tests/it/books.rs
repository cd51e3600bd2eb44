//! Every span is acknowledged, rejected, dropped or unknown, whatever the collector does.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rappel_core::{CallbackManager, ChatModelStart, Message, ShutdownReport, ToolStart};
use rappel_opentelemetry::{Otlp, OtlpBuilder, SpanCounts, otlp};
use rappel_threads::Threads;

use crate::collector::{Answer, Collector};
use crate::scene;

/// Spans of `scene::small`.
const SMALL: u64 = 3;

fn exporter(collector: &Collector) -> OtlpBuilder {
    let exporter = otlp().endpoint(collector.url()).service_name("test");
    // Batches are sent by flushes, shutdowns and full batches only.
    exporter.schedule_delay(Duration::from_secs(3600))
}

fn run(telemetry: &Otlp, traces: usize) -> CallbackManager {
    let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
    block_on(async {
        for _ in 0..traces {
            scene::small(&callbacks).await;
        }
    });
    callbacks
}

fn shut_down(callbacks: &CallbackManager, deadline: Duration) -> ShutdownReport {
    block_on(callbacks.shutdown(deadline)).unwrap()
}

fn balanced(telemetry: &Otlp) -> SpanCounts {
    let counts = telemetry.counts();
    let SpanCounts { ended, acknowledged, rejected, dropped, unknown, pending, .. } = counts;
    assert_eq!(ended, acknowledged + rejected + dropped + unknown + pending, "{counts}");
    counts
}

/// The number of spans that arrived, and of those that are not there twice.
fn arrived(collector: &Collector) -> (u64, u64) {
    let spans = collector.spans();
    let ids: HashSet<_> = spans.iter().map(|s| (s.trace_id.clone(), s.span_id.clone())).collect();
    (spans.len() as u64, ids.len() as u64)
}

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn without_faults_each_span_arrives_once() {
    let collector = Collector::start([]);
    let telemetry = exporter(&collector).header("x-key", "1").gzip().build().unwrap();
    let callbacks = run(&telemetry, 400);
    let report = shut_down(&callbacks, DEADLINE);
    assert!(report.is_clean(), "{report:?}");
    let counts = balanced(&telemetry);
    assert_eq!((counts.ended, counts.acknowledged), (400 * SMALL, 400 * SMALL));
    assert!(counts.is_complete());
    assert_eq!(arrived(&collector), (400 * SMALL, 400 * SMALL));
    for request in collector.requests() {
        assert_eq!(request.path, "/v1/traces");
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(request.header("content-encoding"), Some("gzip"));
        assert_eq!(request.header("x-key"), Some("1"));
        assert_eq!(request.service.as_deref(), Some("test"));
    }
}

#[test]
fn a_collector_that_is_busy_is_asked_again_when_it_says() {
    let script = [Answer::Status(429, Some(1)), Answer::Status(503, None), Answer::Accept];
    let collector = Collector::start(script);
    let telemetry = exporter(&collector).build().unwrap();
    let callbacks = run(&telemetry, 2);
    let started = Instant::now();
    let report = shut_down(&callbacks, DEADLINE);
    assert!(report.is_clean(), "{report:?}");
    assert!(started.elapsed() >= Duration::from_secs(1), "it waited as it was told to");
    assert_eq!(balanced(&telemetry).acknowledged, 2 * SMALL);
    assert_eq!(arrived(&collector), (3 * 2 * SMALL, 2 * SMALL), "with equal ids each time");
}

#[test]
fn what_the_collector_refuses_is_rejected() {
    let collector = Collector::start([Answer::Status(401, None)]);
    let telemetry = exporter(&collector).header("authorization", "secret-1").build().unwrap();
    let callbacks = run(&telemetry, 2);
    let report = shut_down(&callbacks, DEADLINE);
    let [unfinished] = &report.unfinished[..] else { panic!("{report:?}") };
    assert!(unfinished.contains("401"), "{unfinished}");
    assert!(!format!("{unfinished} {telemetry:?}").contains("secret-1"));
    assert!(!report.is_clean());
    let counts = balanced(&telemetry);
    assert_eq!((counts.rejected, counts.acknowledged), (2 * SMALL, 0));
    assert_eq!(collector.requests().len(), 1, "it is not asked again");
}

#[test]
fn a_partial_success_is_counted_in_parts() {
    let collector = Collector::start([Answer::Partial(2, "too old")]);
    let telemetry = exporter(&collector).build().unwrap();
    let callbacks = run(&telemetry, 2);
    let report = shut_down(&callbacks, DEADLINE);
    assert!(report.unfinished[0].contains("too old"), "{report:?}");
    let counts = balanced(&telemetry);
    assert_eq!((counts.rejected, counts.acknowledged), (2, 2 * SMALL - 2));
}

#[test]
fn a_warning_of_the_collector_is_no_loss() {
    let collector = Collector::start([Answer::Partial(0, "old version")]);
    let telemetry = exporter(&collector).build().unwrap();
    let callbacks = run(&telemetry, 1);
    assert!(shut_down(&callbacks, DEADLINE).is_clean());
    assert_eq!(balanced(&telemetry).acknowledged, SMALL);
}

#[test]
fn after_a_reset_the_spans_are_sent_again_with_equal_ids() {
    for answer in [Answer::CutBeforeReading, Answer::CutAfterReading] {
        let kept = u64::from(matches!(answer, Answer::CutAfterReading));
        let collector = Collector::start([answer]);
        let telemetry = exporter(&collector).build().unwrap();
        let callbacks = run(&telemetry, 2);
        assert!(shut_down(&callbacks, DEADLINE).is_clean());
        assert_eq!(balanced(&telemetry).acknowledged, 2 * SMALL);
        assert_eq!(arrived(&collector), ((1 + kept) * 2 * SMALL, 2 * SMALL));
    }
}

#[test]
fn without_an_answer_it_is_unknown_whether_spans_have_arrived() {
    let collector = Collector::start([Answer::CutAfterReading, Answer::Status(400, None)]);
    let telemetry = exporter(&collector).build().unwrap();
    let callbacks = run(&telemetry, 2);
    shut_down(&callbacks, DEADLINE);
    let counts = balanced(&telemetry);
    assert_eq!((counts.unknown, counts.rejected), (2 * SMALL, 0), "the first may have arrived");
}

#[test]
fn a_collector_that_stalls_costs_the_shutdown_its_deadline_and_no_more() {
    let collector = Collector::start([Answer::Stall]);
    let telemetry = exporter(&collector).timeout(Duration::from_secs(60)).build().unwrap();
    let callbacks = run(&telemetry, 2);
    let deadline = Duration::from_millis(500);
    let started = Instant::now();
    let report = shut_down(&callbacks, deadline);
    assert!(started.elapsed() < Duration::from_secs(30), "it waits for no answer");
    assert!(!report.is_clean());
    // The work may end just after its deadline.
    let _ = telemetry.shutdown(Duration::ZERO);
    let counts = balanced(&telemetry);
    assert_eq!((counts.unknown, counts.pending), (2 * SMALL, 0), "{counts}");
}

#[test]
fn while_the_collector_stalls_a_full_queue_drops_and_counts() {
    let collector = Collector::start([Answer::Stall]);
    let telemetry = exporter(&collector).queue_size(8).timeout(Duration::from_secs(60));
    let telemetry = telemetry.build().unwrap();
    let callbacks = run(&telemetry, 4);
    // Eight were a batch, and have left the queue.
    collector.wait_for(1);
    block_on(async {
        for _ in 0..100 {
            scene::small(&callbacks).await;
        }
    });
    let sent = collector.spans().len() as u64;
    let counts = balanced(&telemetry);
    assert_eq!(counts.ended, 104 * SMALL);
    assert_eq!(counts.pending, sent + 8, "{counts}");
    assert_eq!(counts.dropped, 104 * SMALL - sent - 8, "{counts}");
    let report = shut_down(&callbacks, Duration::from_millis(200));
    assert!(!report.is_clean());
    let _ = telemetry.shutdown(Duration::ZERO);
    let counts = balanced(&telemetry);
    assert_eq!((counts.unknown, counts.pending), (sent, 0), "{counts}");
}

#[test]
fn without_a_collector_spans_are_dropped_and_other_handlers_lose_nothing() {
    let collector = Collector::start([]);
    let address = collector.url();
    drop(collector);
    let telemetry = otlp().endpoint(address).timeout(Duration::from_millis(300)).build().unwrap();
    let (log, events) = std::sync::mpsc::channel();
    let handler = rappel_core::handler_fn(move |event: &rappel_core::Event, _: &_| {
        log.send(event.kind())?;
        Ok(())
    });
    let callbacks = CallbackManager::new(Threads::new()).with_handler(handler);
    let callbacks = telemetry.register(callbacks);
    block_on(async {
        for _ in 0..100 {
            scene::small(&callbacks).await;
        }
    });
    let report = shut_down(&callbacks, DEADLINE);
    assert_eq!(events.try_iter().count(), 100 * 7);
    assert!(report.unfinished[0].contains("refused"), "{report:?}");
    let counts = balanced(&telemetry);
    assert_eq!((counts.dropped, counts.ended), (100 * SMALL, 100 * SMALL));
    assert!(report.handlers.iter().all(|stats| stats.failed == 0), "{report:?}");
}

#[test]
fn a_collector_that_comes_back_gets_what_has_waited() {
    let collector = Collector::start([]);
    let address = collector.address;
    let telemetry = exporter(&collector).build().unwrap();
    drop(collector);
    let callbacks = run(&telemetry, 5);
    let (done, is_done) = std::sync::mpsc::channel();
    let shutdown = callbacks.shutdown(DEADLINE);
    std::thread::spawn(move || done.send(block_on(shutdown)));
    let collector = Collector::start_at(address);
    assert!(is_done.recv().unwrap().unwrap().is_clean());
    assert_eq!(balanced(&telemetry).acknowledged, 5 * SMALL);
    assert_eq!(arrived(&collector), (5 * SMALL, 5 * SMALL));
}

#[test]
fn a_flush_sends_what_waits_and_later_spans_are_sent_too() {
    let collector = Collector::start([]);
    let telemetry = exporter(&collector).build().unwrap();
    let callbacks = run(&telemetry, 1);
    assert_eq!(telemetry.force_flush().unwrap().acknowledged, SMALL);
    block_on(scene::small(&callbacks));
    assert!(shut_down(&callbacks, DEADLINE).is_clean());
    assert!(shut_down(&callbacks, DEADLINE).is_clean(), "a second shutdown only reports");
    assert_eq!(arrived(&collector), (2 * SMALL, 2 * SMALL));
    let lost = CallbackManager::new(Threads::new()).with_async_handler(telemetry.handler());
    block_on(scene::small(&lost));
    assert_eq!(balanced(&telemetry).ended, 2 * SMALL, "no span begins after the shutdown");
}

#[test]
fn a_flush_and_a_shutdown_say_that_their_time_was_up() {
    let collector = Collector::start([Answer::Stall]);
    let telemetry = exporter(&collector).timeout(Duration::from_secs(60)).build().unwrap();
    let _callbacks = run(&telemetry, 1);
    let flushed = telemetry.force_flush().expect_err("nothing was sent within its time");
    assert!(flushed.timed_out, "{flushed}");
    assert_eq!(flushed.counts.pending, SMALL);
    let ended = telemetry.shutdown(Duration::from_millis(100)).expect_err("nothing was sent");
    assert!(ended.timed_out && ended.to_string().contains("the time was up"), "{ended}");
    let again = telemetry.shutdown(Duration::from_millis(100)).expect_err("nothing was sent");
    assert_eq!(again, ended, "it reports only");
}

#[test]
fn an_attempt_has_only_the_time_that_is_left() {
    let busy = vec![Answer::Status(503, None); 4];
    let collector = Collector::start(busy.into_iter().chain([Answer::Stall]));
    let limit = Duration::from_secs(4);
    let telemetry = exporter(&collector).timeout(limit).build().unwrap();
    let callbacks = run(&telemetry, 1);
    let started = Instant::now();
    assert!(!shut_down(&callbacks, DEADLINE).is_clean());
    // The pauses before the last attempt take more than a second.
    assert_eq!(collector.requests().len(), 5);
    assert!(started.elapsed() < limit + Duration::from_secs(1), "{:?}", started.elapsed());
}

/// Traces of a model that has the whole conversation in its prompt.
async fn conversations(callbacks: &CallbackManager, traces: usize, prompt: usize) {
    let messages: Vec<_> = (0..40).map(|_| Message::human("x".repeat(prompt / 40))).collect();
    for _ in 0..traces {
        let start = ChatModelStart::new("m", messages.clone());
        let run = callbacks.on_chat_model_start(start).await.unwrap();
        run.end("ok").await.unwrap();
    }
}

#[test]
fn a_batch_with_long_contents_is_sent_in_requests_that_collectors_take() {
    let collector = Collector::start([]);
    let settings = rappel_opentelemetry::Settings::new().content(true);
    let telemetry = exporter(&collector).settings(settings).build().unwrap();
    let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
    block_on(conversations(&callbacks, 300, 160_000));
    let report = shut_down(&callbacks, DEADLINE);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(balanced(&telemetry).acknowledged, 300);
    assert_eq!(arrived(&collector), (300, 300));
    for request in collector.requests() {
        let bytes: usize = request.header("content-length").unwrap().parse().unwrap();
        assert!(bytes <= 4 * 1024 * 1024, "{bytes}");
    }
}

#[test]
fn one_request_of_a_batch_is_refused_and_the_others_arrive() {
    let collector = Collector::start([Answer::Accept, Answer::Status(413, None)]);
    let settings = rappel_opentelemetry::Settings::new().content(true);
    let telemetry = exporter(&collector).settings(settings).build().unwrap();
    let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
    // Two spans are too much for a request.
    block_on(conversations(&callbacks, 3, 1_200_000));
    let report = shut_down(&callbacks, DEADLINE);
    assert!(report.unfinished[0].contains("413"), "{report:?}");
    let counts = balanced(&telemetry);
    assert_eq!((counts.acknowledged, counts.rejected), (2, 1), "{counts}");
}

#[test]
fn a_span_that_is_too_large_to_be_sent_is_named() {
    let collector = Collector::start([]);
    let telemetry = exporter(&collector).build().unwrap();
    let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
    let mut metadata = rappel_core::Map::new();
    metadata.insert("page".into(), "x".repeat(65 * 1024 * 1024).into());
    let large = callbacks.clone().with_inheritable_metadata(metadata);
    block_on(async {
        let start = ToolStart::new("large", "");
        large.on_tool_start(start).await.unwrap().end("").await.unwrap();
        scene::small(&callbacks).await;
    });
    let report = shut_down(&callbacks, DEADLINE);
    assert!(report.unfinished[0].contains("request body is"), "{report:?}");
    let counts = balanced(&telemetry);
    assert_eq!((counts.dropped, counts.acknowledged), (1, SMALL), "{counts}");
}

#[test]
fn two_shutdowns_at_once_send_what_is_left() {
    let collector = Collector::start([Answer::Status(429, Some(1))]);
    let telemetry = exporter(&collector).build().unwrap();
    let managers = [run(&telemetry, 1), run(&telemetry, 1)];
    std::thread::scope(|scope| {
        for manager in &managers {
            scope.spawn(|| assert!(shut_down(manager, DEADLINE).is_clean()));
        }
    });
    assert_eq!(balanced(&telemetry).acknowledged, 2 * SMALL);
}

#[test]
fn a_shutdown_that_waits_for_another_one_keeps_to_its_own_deadline() {
    let collector = Collector::start([Answer::Stall]);
    let telemetry = exporter(&collector).timeout(Duration::from_secs(60)).build().unwrap();
    let _callbacks = run(&telemetry, 1);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| telemetry.shutdown(Duration::from_secs(2)));
        collector.wait_for(1);
        let second = telemetry.shutdown(Duration::from_millis(50)).expect_err("no answer came");
        assert!(second.timed_out && second.counts.unknown == SMALL, "{second}");
        assert!(first.join().unwrap().is_err());
    });
}

#[test]
fn a_flush_that_finds_too_many_others_is_no_success() {
    let collector = Collector::start([Answer::Stall]);
    let telemetry = exporter(&collector).timeout(Duration::from_secs(60)).build().unwrap();
    let _callbacks = run(&telemetry, 1);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert!(telemetry.force_flush().is_err()));
        }
    });
    let _ = telemetry.shutdown(Duration::ZERO);
}
