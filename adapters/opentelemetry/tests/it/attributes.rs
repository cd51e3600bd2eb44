//! What spans have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_executor::block_on;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rappel_core::{
    CallbackManager, ChatModelStart, ContentPart, Generation, LlmResult, Message, ToolCall, Value,
    json,
};
use rappel_opentelemetry::{SemConv, Settings, otlp};
use rappel_threads::Threads;

use crate::collector::Collector;
use crate::scene::{self, attributes, text};

/// The spans of a scene, as they arrive.
pub(crate) fn spans_of(settings: Settings, scene: impl AsyncFnOnce(&CallbackManager)) -> Vec<Span> {
    let collector = Collector::start([]);
    let telemetry = otlp().endpoint(collector.url()).settings(settings).build().unwrap();
    let callbacks = telemetry.register(CallbackManager::new(Threads::new()));
    block_on(scene(&callbacks));
    let report = block_on(callbacks.shutdown(Duration::from_secs(20))).unwrap();
    assert!(report.is_clean(), "{report:?}");
    collector.spans()
}

fn by_name(spans: Vec<Span>) -> BTreeMap<String, Span> {
    spans.into_iter().map(|span| (span.name.clone(), span)).collect()
}

/// All names of attributes of spans and their events, with `<i>` for numbers.
pub(crate) fn names(settings: Settings) -> BTreeSet<String> {
    let spans = spans_of(settings, scene::agent);
    let events = spans.iter().flat_map(|span| &span.events).flat_map(|event| &event.attributes);
    let own = spans.iter().flat_map(|span| &span.attributes);
    own.chain(events).map(|attribute| number_free(&attribute.key)).collect()
}

fn number_free(key: &str) -> String {
    let part =
        |part: &str| if part.parse::<u32>().is_ok() { "<i>".into() } else { part.to_owned() };
    key.split('.').map(part).collect::<Vec<_>>().join(".")
}

#[test]
fn an_agent_is_a_tree_of_spans_by_the_conventions() {
    let spans = by_name(spans_of(Settings::new(), scene::agent));
    let names: Vec<&str> = spans.keys().map(String::as_str).collect();
    let expected = [
        "chat gpt-4o-mini",
        "execute_tool weather",
        "invoke_agent forecaster",
        "plan",
        "retrieval almanac",
        "text_completion old-model",
    ];
    assert_eq!(names, expected);
    let root = &spans["invoke_agent forecaster"];
    assert!(root.parent_span_id.is_empty());
    for (name, span) in &spans {
        assert_eq!(span.trace_id, root.trace_id);
        let is_root = name == "invoke_agent forecaster";
        assert!(is_root || span.parent_span_id == root.span_id, "{name}");
        assert!(span.start_time_unix_nano >= root.start_time_unix_nano, "{name}");
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano, "{name}");
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{name}");
    }
    let kind = |name: &str| SpanKind::try_from(spans[name].kind).unwrap();
    assert_eq!(kind("chat gpt-4o-mini"), SpanKind::Client);
    assert_eq!(kind("execute_tool weather"), SpanKind::Internal);
    assert_eq!(kind("invoke_agent forecaster"), SpanKind::Internal);

    let chat = attributes(&spans["chat gpt-4o-mini"]);
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4o-mini"),
        ("gen_ai.request.temperature", "0.5"),
        ("gen_ai.request.top_p", "0.9"),
        ("gen_ai.request.top_k", "40.0"),
        ("gen_ai.request.max_tokens", "100"),
        ("gen_ai.request.seed", "7"),
        ("gen_ai.request.choice.count", "2"),
        ("gen_ai.request.stop_sequences", "END"),
        ("gen_ai.request.stream", "true"),
        ("gen_ai.output.type", "json"),
        ("gen_ai.response.id", "chatcmpl-1"),
        ("gen_ai.response.model", "gpt-4o-mini-2024-07-18"),
        ("gen_ai.response.finish_reasons", "tool_calls"),
        ("gen_ai.usage.input_tokens", "120"),
        ("gen_ai.usage.output_tokens", "30"),
        ("gen_ai.usage.cache_read.input_tokens", "100"),
        ("gen_ai.usage.cache_creation.input_tokens", "20"),
        ("gen_ai.usage.reasoning.output_tokens", "12"),
        ("gen_ai.conversation.id", "session-1"),
        ("server.address", "api.openai.com"),
        ("server.port", "443"),
        ("session.id", "session-1"),
        ("user.id", "user-1"),
        ("openinference.span.kind", "LLM"),
        ("llm.model_name", "gpt-4o-mini-2024-07-18"),
        ("llm.provider", "openai"),
        ("llm.token_count.prompt", "120"),
        ("llm.token_count.completion", "30"),
        ("llm.token_count.total", "150"),
        ("llm.token_count.prompt_details.cache_read", "100"),
        ("llm.token_count.prompt_details.cache_write", "20"),
        ("llm.token_count.completion_details.reasoning", "12"),
        ("llm.finish_reason", "tool_calls"),
        ("tag.tags", "prod"),
    ] {
        assert_eq!(chat.get(name).map(String::as_str), Some(value), "{name}");
    }
    let first: f64 = chat["gen_ai.response.time_to_first_chunk"].parse().unwrap();
    let span = &spans["chat gpt-4o-mini"];
    let took = span.end_time_unix_nano - span.start_time_unix_nano;
    assert!((0.0..=took as f64 / 1e9).contains(&first), "{first}");
    let [retry] = &span.events[..] else { panic!("{:?}", span.events) };
    assert_eq!(retry.name, "rappel.retry");

    let tool = attributes(&spans["execute_tool weather"]);
    assert_eq!(tool["gen_ai.tool.call.id"], "call-1");
    assert_eq!(tool["gen_ai.tool.type"], "function");
    assert_eq!(tool["openinference.span.kind"], "TOOL");
    let old = attributes(&spans["text_completion old-model"]);
    assert_eq!(old["llm.model_name"], "old-model", "none answered, so it is the one asked for");
}

#[test]
fn errors_and_cancelled_runs_have_a_status_and_a_type() {
    let spans = by_name(spans_of(Settings::new(), scene::agent));
    for (name, error_type, message) in
        [("plan", "routing", "no route"), ("text_completion old-model", "cancelled", "cancelled")]
    {
        let span = &spans[name];
        let status = span.status.as_ref().unwrap();
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, message));
        assert_eq!(attributes(span)["error.type"], error_type);
        let exception = &span.events[0];
        assert_eq!(exception.name, "exception");
        let message_of = exception.attributes.iter().find(|kv| kv.key == "exception.message");
        assert_eq!(text(message_of.unwrap().value.as_ref().unwrap()).unwrap(), message);
    }
    let status = spans["chat gpt-4o-mini"].status.as_ref().unwrap();
    assert_eq!(status.code(), StatusCode::Unset);
}

#[test]
fn a_run_that_another_process_goes_on_with_has_a_span_without_an_error() {
    let spans = spans_of(Settings::new(), scene::handed_over);
    assert_eq!(spans.len(), 3);
    for span in &spans {
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Unset);
        assert!(span.events.is_empty(), "{span:?}");
        assert!(!attributes(span).contains_key("error.type"), "{span:?}");
    }
}

#[test]
fn contents_are_in_no_span_unless_they_are_switched_on() {
    let secret = ["Sun?", "Nîmes", "I look", "mild", "Be brief", "sunny", "It is dry", "Finish:"];
    let shown = format!("{:?}", spans_of(Settings::new(), scene::agent));
    for text in secret {
        assert!(!shown.contains(text), "{text}");
    }
    let shown = format!("{:?}", spans_of(Settings::new().content(true), scene::agent));
    for text in secret {
        assert!(shown.contains(text), "{text}");
    }
}

#[test]
fn contents_are_written_as_the_conventions_say() {
    let spans = by_name(spans_of(Settings::new().content(true), scene::agent));
    let chat = attributes(&spans["chat gpt-4o-mini"]);
    let json = |name: &str| serde_json::from_str::<Value>(&chat[name]).unwrap();
    let call = json!({ "type": "tool_call", "id": "call-1", "name": "weather",
        "arguments": { "city": "Nîmes" } });
    let input = json!([
        { "role": "system", "parts": [{ "type": "text", "content": "Be brief" }] },
        { "role": "user", "name": "ada", "parts": [{ "type": "text", "content": "Sun?" }] },
        { "role": "assistant", "parts": [call] },
        { "role": "tool", "parts": [
            { "type": "tool_call_response", "id": "call-0", "response": "mild" },
        ] },
    ]);
    assert_eq!(json("gen_ai.input.messages"), input);
    let output = json!([{ "role": "assistant", "finish_reason": "tool_call", "parts": [
        { "type": "text", "content": "I look" }, call,
    ] }]);
    assert_eq!(json("gen_ai.output.messages"), output);
    let tools = json!([{ "type": "function", "name": "weather",
        "description": "Tells the weather", "parameters": { "type": "object" } }]);
    assert_eq!(json("gen_ai.tool.definitions"), tools);
    for (name, value) in [
        ("llm.input_messages.1.message.role", "user"),
        ("llm.input_messages.1.message.content", "Sun?"),
        ("llm.input_messages.2.message.tool_calls.0.tool_call.function.name", "weather"),
        ("llm.input_messages.3.message.tool_call_id", "call-0"),
        ("llm.output_messages.0.message.content", "I look"),
        ("output.value", "I look"),
    ] {
        assert_eq!(chat[name], value, "{name}");
    }
    let tool = attributes(&spans["execute_tool weather"]);
    assert_eq!(tool["gen_ai.tool.call.arguments"], r#"{"city":"Nîmes"}"#);
    assert_eq!(tool["gen_ai.tool.call.result"], "sunny");
    let retrieval = attributes(&spans["retrieval almanac"]);
    assert_eq!(retrieval["gen_ai.retrieval.query.text"], "Nîmes");
    assert_eq!(retrieval["retrieval.documents.0.document.content"], "It is dry");
    let agent = attributes(&spans["invoke_agent forecaster"]);
    assert_eq!(agent["output.value"], r#"{"answer":"sunny"}"#);
    assert_eq!(agent["output.mime_type"], "application/json");
}

#[test]
fn the_newest_conventions_have_other_names() {
    let names = names(Settings::new().semconv(SemConv::Latest));
    for name in ["gen_ai.usage.cache_write.input_tokens", "gen_ai.request.reasoning.level"] {
        assert!(names.contains(name), "{name}");
    }
    assert!(!names.contains("gen_ai.usage.cache_creation.input_tokens"));
}

#[test]
fn openinference_can_be_left_out() {
    let names = names(Settings::new().content(true).openinference(false));
    let theirs = ["openinference.", "llm.", "input.", "output.", "tool.", "agent.", "retrieval."];
    let left: Vec<_> = names.iter().filter(|n| theirs.iter().any(|t| n.starts_with(t))).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn redaction_and_limits_hold_for_every_text_and_json_stays_json() {
    let settings = Settings::new().content(true).content_limit(40);
    let settings = settings.redact(|text| Some(text.replace("sk-123", "[key]")));
    let long = "é".repeat(100);
    let spans = spans_of(settings, async |callbacks| {
        let image = ContentPart::image_data("image/png", [7; 300]);
        let parts = vec![ContentPart::text(format!("sk-123 {long}")), image];
        let broken = ToolCall::new("look", "{sk-123").with_id("1");
        let messages = vec![Message::human(parts), Message::ai("").with_tool_calls([broken])];
        let start = ChatModelStart::new("m", messages);
        let model = callbacks.on_chat_model_start(start).await.unwrap();
        let call = ToolCall::new("send", json!({ "to": ["sk-123", long.clone()] }).to_string());
        let answer = Generation::new("sk-123").with_tool_calls([call]);
        model.end(LlmResult::new().with_generation(answer)).await.unwrap();
    });
    let shown = format!("{spans:?}");
    assert!(!shown.contains("sk-123"), "{shown}");
    let chat = attributes(&spans[0]);
    let input: Value = serde_json::from_str(&chat["gen_ai.input.messages"]).unwrap();
    let text = input[0]["parts"][0]["content"].as_str().unwrap();
    assert!(text.starts_with("[key] é") && text.len() <= 40, "{text}");
    let image = json!({ "type": "blob", "modality": "image", "mime_type": "image/png" });
    assert_eq!(input[0]["parts"][1], image, "a part of an image is of no use");
    let output: Value = serde_json::from_str(&chat["gen_ai.output.messages"]).unwrap();
    assert_eq!(output[0]["parts"][1]["arguments"]["to"][1].as_str().unwrap().len(), 40);
}

#[test]
fn a_redaction_that_panics_costs_the_text_and_not_the_span() {
    let settings = Settings::new().content(true).redact(|_| panic!("a bug"));
    let spans = spans_of(settings, scene::small);
    assert_eq!(spans.len(), 3);
    assert!(format!("{spans:?}").contains("the redaction panicked"));
}

#[test]
fn long_conversations_are_whole() {
    let spans = spans_of(Settings::new().content(true), async |callbacks| {
        let messages: Vec<_> = (0..300).map(|n| Message::human(format!("m{n}"))).collect();
        let start = ChatModelStart::new("m", messages);
        callbacks.on_chat_model_start(start).await.unwrap().end("done").await.unwrap();
    });
    assert_eq!(spans[0].dropped_attributes_count, 0);
    assert_eq!(attributes(&spans[0])["llm.input_messages.299.message.content"], "m299");
}

#[test]
fn a_run_with_many_events_that_fails_still_has_its_error() {
    for (fails, last) in [(true, "exception"), (false, "progress 299")] {
        let spans = spans_of(Settings::new(), async |callbacks| {
            let start = rappel_core::ToolStart::new("index", "");
            let mut tool = callbacks.on_tool_start(start).await.unwrap();
            for page in 0..300 {
                let name = format!("progress {page}");
                tool.on_custom_event(rappel_core::CustomEvent::new(name, json!({}))).await.unwrap();
            }
            match fails {
                true => tool.fail("the disk is full").await.unwrap(),
                false => tool.end("").await.unwrap(),
            }
        });
        let names: Vec<&str> = spans[0].events.iter().map(|event| &*event.name).collect();
        assert_eq!(names.len(), 128);
        assert_eq!((names[0], names[126], names[127]), ("progress 0", "progress 126", last));
        let dropped = spans[0].dropped_events_count;
        assert_eq!(dropped, 300 + u32::from(fails) - 128);
    }
}

#[test]
fn metadata_that_is_null_is_no_session_and_no_user() {
    let of = |metadata: Value| {
        let spans = spans_of(Settings::new(), async |callbacks| {
            let metadata = scene::map(metadata);
            let callbacks = callbacks.clone().with_inheritable_metadata(metadata);
            scene::small(&callbacks).await;
        });
        let attributes = attributes(&spans[0]);
        ["session.id", "gen_ai.conversation.id", "user.id"]
            .map(|name| attributes.get(name).cloned())
    };
    assert_eq!(of(json!({ "session_id": null, "user_id": null })), [None, None, None]);
    let thread = Some("t-1".to_owned());
    let metadata = json!({ "session_id": null, "thread_id": "t-1", "user_id": 7 });
    assert_eq!(of(metadata), [thread.clone(), thread, Some("7".into())]);
}

#[test]
fn two_limits_of_tokens_are_one_attribute() {
    let spans = spans_of(Settings::new(), async |callbacks| {
        let params = json!({ "max_completion_tokens": 200, "max_tokens": 100 });
        let start = ChatModelStart::new("m", [Message::human("hi")]);
        let start = start.with_invocation_params(scene::map(params));
        callbacks.on_chat_model_start(start).await.unwrap().end("").await.unwrap();
    });
    // `attributes` checks that none is there twice.
    assert_eq!(attributes(&spans[0])["gen_ai.request.max_tokens"], "200");
}
