//! Records are written, read and written again.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::model::context::RecordedAt;
use crate::model::document::Document;
use crate::model::error::{FailureCause, HandlerFailure, RunError};
use crate::model::event::*;
use crate::model::message::{ContentPart, Message, Role, ToolCall};
use crate::model::result::{
    Generation, LlmChunk, LlmResult, TokenLogprob, TokenUsage, ToolCallChunk,
};
use crate::model::run_info::{MoreInfo, RunInfo};

fn id(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

fn context(kind: RunKind) -> EventContext {
    let info = RunInfo {
        id: id(3),
        parent_id: Some(id(2)),
        root_id: id(1),
        kind,
        name: "run".into(),
        tags: Box::from(["a".into()]),
        metadata: json!({ "user": 7 }).as_object().cloned().unwrap_or_default(),
        more: Some(Box::new(MoreInfo {
            above_parent: Some([id(1)].into()),
            traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok(),
            remote_parent: true,
            replayed: false,
            delivery: None,
        })),
    };
    let mut cx = EventContext::new(Arc::new(info));
    (cx.sequence, cx.time) = (Some(4), Some(Duration::from_nanos(1_700_000_000_000_000_999)));
    cx.losses = Losses { dropped: 2, refused_runs: 0, coalesced: 1 };
    cx
}

fn failure() -> HandlerFailure {
    let cause = FailureCause::Panicked("over budget".into());
    HandlerFailure::new("Gate".into(), EventKind::LlmStart, id(3), cause)
}

fn errors() -> Vec<RunError> {
    let mut all = Vec::from([
        RunError::Cancelled,
        RunError::TimedOut,
        RunError::HandedOver,
        RunError::panicked("index out of bounds"),
        RunError::failed("no network"),
        RunError::Stopped(Box::new(failure())),
    ]);
    // One with a cause.
    all.push(RunError::failed(crate::EmitError::Raised(Box::new(failure()))));
    all
}

fn result() -> LlmResult {
    let call = ToolCall::new("clock", "{}").with_id("call_1");
    let generation = Generation::new("noon").with_finish_reason("stop").with_tool_calls([call]);
    let usage = TokenUsage::new(3, 4).with_cached_tokens(1).with_reasoning_tokens(2);
    LlmResult::new().with_generation(generation).with_usage(usage).with_model_name("m-1")
}

fn every_event() -> Vec<(RunKind, Event)> {
    let chunk = LlmChunk::new("No")
        .with_finish_reason("odd")
        .with_tool_calls([ToolCallChunk::new(0, "{").with_id("call_1").with_name("clock")]);
    let mut logprobs = LlmChunk::from_reasoning("Hm");
    logprobs.logprobs.push(TokenLogprob::new("Hm", -0.123_456_789_012_345_67));
    let messages = Vec::from([
        Message::system("Be brief."),
        Message::human(Vec::from([ContentPart::image_url("https://x").with_detail("low")])),
        Message::ai("").with_tool_calls([ToolCall::new("clock", "{}").with_id("call_1")]),
        Message::tool("call_1", "noon"),
    ]);
    let params = json!({ "temperature": 0.1 }).as_object().cloned().unwrap_or_default();
    let model = |event: Event| (RunKind::ChatModel, event);
    let mut all = Vec::from([
        (RunKind::Llm, LlmStart::new("m", "Hi").with_provider("openai").into()),
        model(
            ChatModelStart::new("m", messages)
                .with_invocation_params(params)
                .with_provider("openai")
                .with_server("api.openai.com", 443)
                .with_batch_size(2)
                .into(),
        ),
        model(LlmNewToken::new("No").into()),
        model(LlmNewToken::from(chunk).into()),
        model(LlmNewToken::from(logprobs).into()),
        model(LlmEnd::new(result()).into()),
        (RunKind::Chain, ChainStart::agent("a").with_inputs(json!({ "q": [1, 2.5] })).into()),
        (RunKind::Chain, ChainEnd { open_children: 1, ..ChainEnd::new("done") }.into()),
        (
            RunKind::Tool,
            ToolStart::new("clock", "{}")
                .with_inputs(json!({}))
                .with_description("Tells the time")
                .with_tool_call_id("call_1")
                .with_tool_type("function")
                .into(),
        ),
        (RunKind::Tool, ToolEnd { tool_call_id: Some("c".into()), ..ToolEnd::new("noon") }.into()),
        (RunKind::Retriever, RetrieverStart::new("r", "q").into()),
        (
            RunKind::Retriever,
            RetrieverEnd::new([Document::new("text").with_id("d1").with_score(0.1 + 0.2)]).into(),
        ),
        (RunKind::Chain, AgentAction::new("clock", json!({ "zone": "CET" }), "I look").into()),
        (RunKind::Chain, AgentFinish::new("noon", "I know").into()),
        (RunKind::Chain, Text::new("text").into()),
        model(Retry::new(1, "reset", Duration::from_micros(1_500_000)).into()),
        model(Retry::new(2, RunError::TimedOut, Duration::ZERO).into()),
        (RunKind::None, CustomEvent::new("progress", json!({ "done": 0.5 })).into()),
    ]);
    for error in errors() {
        all.push(model(LlmError::new(error.clone(), result()).into()));
        all.push((RunKind::Chain, ChainError::new(error.clone()).into()));
        all.push((RunKind::Tool, ToolError::new(error.clone()).into()));
        all.push((RunKind::Retriever, RetrieverError::new(error).into()));
    }
    all
}

#[test]
fn every_event_written_and_read_is_written_the_same_again() {
    let mut recorder = Recorder::new("here");
    let mut kinds = alloc::collections::BTreeSet::new();
    for (run, event) in every_event() {
        kinds.insert(event.kind());
        let cx = context(run);
        let record = recorder.record(&event, &cx).expect("it is no replay");
        let text = serde_json::to_string(&record).expect("plain data");
        assert_eq!(text, serde_json::to_string(&record.to_record()).expect("plain data"));
        let read: EventRecord = serde_json::from_str(&text).expect("it was written by us");
        assert_eq!(serde_json::to_string(&read).expect("plain data"), text);
        // Also through a value, and as an event without its record.
        let value: Value = serde_json::from_str(&text).expect("it was written by us");
        let again = serde_json::from_value::<EventRecord>(value).expect("it was written by us");
        assert_eq!(serde_json::to_string(&again).expect("plain data"), text);
        let alone = serde_json::to_string(&event).expect("plain data");
        let event: Event = serde_json::from_str(&alone).expect("it was written by us");
        assert_eq!(serde_json::to_string(&event).expect("plain data"), alone);
        let info = serde_json::to_string(&**cx.run()).expect("plain data");
        let read: RunInfo = serde_json::from_str(&info).expect("it was written by us");
        assert_eq!(serde_json::to_string(&read).expect("plain data"), info);
    }
    let all: Vec<_> = EventKind::ALL.to_vec();
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all, "an event is missing in the test");
}

#[test]
fn an_error_that_was_read_says_what_it_said() {
    for error in errors() {
        let text = serde_json::to_string(&error).expect("plain data");
        let read: RunError = serde_json::from_str(&text).expect("it was written by us");
        assert_eq!(read.to_string(), error.to_string());
        assert_eq!(core::mem::discriminant(&read), core::mem::discriminant(&error));
        let causes = |error: &RunError| {
            let mut causes = Vec::new();
            let mut next = core::error::Error::source(error);
            while let Some(cause) = next {
                causes.push(cause.to_string());
                next = cause.source();
            }
            causes
        };
        assert_eq!(causes(&read), causes(&error));
    }
    let text = r#"{"kind":"melted","type":"Heat","message":"too hot","causes":["sun"],"new":1}"#;
    let read: RunError = serde_json::from_str(text).expect("a kind of a later version");
    let cause = read.cause::<RecordedError>().expect("it is read as failed");
    assert_eq!((read.to_string().as_str(), cause.error_type()), ("too hot", Some("Heat")));
    // Also if a run fails with the error that was read, and unless it is given another type.
    let again = RunError::failed(cause.clone());
    assert_eq!(again.error_type(), "Heat");
    assert_eq!(again.with_type("429").error_type(), "429");
}

#[test]
fn what_a_later_version_writes_is_read_as_far_as_it_is_known() {
    let base = || {
        json!({
            "v": 2, "kind": "on_text", "run_kind": "chain", "run": id(1), "root": id(1),
            "seq": 1, "tseq": 1, "source": "s", "time": 5, "new": [], "data": {"text": "t", "new": 1},
        })
    };
    let read = |value: Value| serde_json::from_value::<EventRecord>(value);
    let known = read(base()).expect("new fields");
    assert!(matches!(&known.event, Some(Event::Text(text)) if text.text == "t"));
    for (field, value) in [
        ("kind", json!("on_dream")),
        ("run_kind", json!("dream")),
        ("data", json!({ "shape": "new" })),
    ] {
        let mut record = base();
        record[field] = value;
        let record = read(record).expect("a kind of a later version");
        assert!(record.event.is_none(), "{field}");
        assert!(serde_json::to_string(&record).is_err(), "it would be written in part");
    }
    // The same in this version is an error, and says where.
    let mut record = base();
    (record["v"], record["data"]) = (json!(1), json!({}));
    let error = read(record).expect_err("a text without text").to_string();
    assert!(error.contains("the data of `on_text`: missing field `text`"), "{error}");
    let mut record = base();
    record["v"] = json!(0);
    assert!(read(record).is_err());
}

#[test]
fn roles_are_written_as_providers_do_and_read_as_langchain_writes_them() {
    let written = [
        (Role::System, "system"),
        (Role::Human, "user"),
        (Role::Ai, "assistant"),
        (Role::Tool, "tool"),
    ];
    for (role, name) in written {
        assert_eq!(serde_json::to_value(role).ok(), Some(json!(name)));
        assert_eq!(serde_json::from_value::<Role>(json!(name)).ok(), Some(role));
    }
    for (role, name) in [(Role::Human, "human"), (Role::Ai, "ai"), (Role::System, "developer")] {
        assert_eq!(serde_json::from_value::<Role>(json!(name)).ok(), Some(role));
    }
}

#[test]
fn every_number_survives() {
    // Numbers of a linear congruential generator, as doubles between 0 and -50.
    let mut state = 7_u64;
    for _ in 0..10_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let logprob = -50.0 * ((state >> 11) as f64 / (1_u64 << 53) as f64);
        let text = serde_json::to_string(&TokenLogprob::new("t", logprob)).expect("plain data");
        let read: TokenLogprob = serde_json::from_str(&text).expect("it was written by us");
        assert_eq!(read.logprob.to_bits(), logprob.to_bits());
        let value: Value = serde_json::from_str(&text).expect("it was written by us");
        let read: TokenLogprob = serde_json::from_value(value).expect("it was written by us");
        assert_eq!(read.logprob.to_bits(), logprob.to_bits());
    }
}

#[test]
fn records_of_a_trace_are_numbered_until_its_last_run_has_ended() {
    let mut recorder = Recorder::new("here");
    let cx = context(RunKind::Chain);
    let start: Event = ChainStart::new("c", json!({})).into();
    let end: Event = ChainEnd::new("").into();
    let mut number = |event: &Event| recorder.record(event, &cx).map(|record| record.tseq());
    let numbers: Vec<_> = [&start, &start, &end, &end].map(&mut number).into_iter().collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(recorder.open_traces(), 0);
}

#[test]
fn a_replayed_event_keeps_its_source_and_number() {
    let mut recorder = Recorder::new("here");
    let mut cx = context(RunKind::Chain);
    Arc::make_mut(&mut cx.run).more().replayed = true;
    let event: Event = Text::new("t").into();
    assert!(recorder.record(&event, &cx).is_none(), "the replay has made it up");
    let losses = Losses { dropped: 1, ..Losses::default() };
    let (source, tseq) = ("there".into(), 9);
    cx.recorded = Some(Arc::new(RecordedAt { source, tseq, custom_seq: None, losses, run: None }));
    let record = recorder.record(&event, &cx).map(|record| record.to_record());
    let record = record.expect("it was recorded there");
    let source: String = record.source.as_ref().into();
    assert_eq!((source.as_str(), record.tseq, record.lost.dropped), ("there", 9, 3));
}

#[test]
fn numbers_of_custom_events_without_a_run_never_begin_again() {
    let mut recorder = Recorder::new("here");
    let custom: Event = CustomEvent::new("late", json!({})).into();
    let start: Event = ChainStart::new("c", json!({})).into();
    let mut numbers = |event: &Event, kind: RunKind| {
        let cx = context(kind);
        recorder.record(event, &cx).map(|record| record.to_record().custom_seq)
    };
    // No run of the trace is open, so the trace is forgotten each time.
    assert_eq!(numbers(&custom, RunKind::None), Some(Some(0)));
    assert_eq!(numbers(&custom, RunKind::None), Some(Some(1)));
    assert_eq!(numbers(&start, RunKind::Chain), Some(None));
    assert_eq!(numbers(&custom, RunKind::Chain), Some(None));
    assert_eq!(numbers(&custom, RunKind::None), Some(Some(2)));
}

#[test]
fn a_record_of_127_levels_is_read_and_a_deeper_one_is_an_error() {
    let nested = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        let start = ChainStart::new("c", Value::Null);
        let cx = context(RunKind::Chain);
        let event: Event = start.into();
        let record = Recorder::new("here").record(&event, &cx).map(|record| record.to_record());
        let text = serde_json::to_string(&record).expect("plain data");
        // The record and its `data` are two levels.
        text.replace(r#""inputs":null"#, &alloc::format!(r#""inputs":{open}{close}"#))
    };
    assert!(serde_json::from_str::<EventRecord>(&nested(125)).is_ok());
    let error = serde_json::from_str::<EventRecord>(&nested(126)).expect_err("128 levels");
    assert!(error.to_string().contains("recursion limit exceeded"), "{error}");
}
