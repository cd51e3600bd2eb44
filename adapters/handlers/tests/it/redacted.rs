//! Secrets are in nothing that the handler gets, wherever they are and however they are split.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rappel_core::prelude::*;
use rappel_core::record::Recorder;
use rappel_core::{
    Content, ContentPart, FinishReason, Generation, Map, TokenLogprob, ToolCall, ToolCallChunk,
    TopLogprob, Value, json,
};
use rappel_handlers::{
    Filter, FinalAnswer, JsonLines, PatternError, Redact, StreamingStdout, With,
};

use crate::support::{Text as Output, callbacks, on_runtimes, with_failures};

/// A marked secret, which is in nothing but what a test puts it into.
const SECRET: &str = "sk-märkéd-7f3a91";
const MASK: &str = "[redacted]";

/// Everything that a handler got: the JSON of each event, its `Debug`, and the joined texts.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    events: Vec<String>,
    joined: BTreeMap<String, String>,
    recorder: Option<Recorder>,
}

impl State {
    fn join(&mut self, what: impl Into<String>, text: &str) {
        self.joined.entry(what.into()).or_default().push_str(text);
    }
}

impl CallbackHandler for Seen {
    fn on_event(&mut self, event: &Event, cx: &EventContext) -> HandlerResult {
        let mut state = self.0.lock().unwrap();
        let recorder = state.recorder.get_or_insert_with(|| Recorder::new("test"));
        // What a replay made up is in no record.
        let record = recorder.record(event, cx);
        let text = serde_json::to_string(&record)? + &format!("\n{event:?}\n{cx:?}");
        state.events.push(text);
        if let Event::LlmNewToken(token) = event {
            state.join("token", &token.token);
            let Some(chunk) = &token.chunk else {
                state.join("text", &token.token);
                return Ok(());
            };
            state.join("text", &chunk.text);
            state.join("reasoning", &chunk.reasoning);
            state.join("refusal", &chunk.refusal);
            for call in &chunk.tool_calls {
                state.join(format!("arguments {}", call.index), &call.arguments);
                state.join(format!("name {}", call.index), call.name.as_deref().unwrap_or(""));
            }
            for logprob in &chunk.logprobs {
                state.join("logprobs", &logprob.token);
            }
            for (key, value) in &chunk.extra {
                state.join(format!("extra {key}"), value.as_str().unwrap_or_default());
            }
        }
        Ok(())
    }
}

impl Seen {
    fn joined(&self, what: &str) -> String {
        self.0.lock().unwrap().joined.get(what).cloned().unwrap_or_default()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().events.len()
    }

    #[track_caller]
    fn assert_clean(&self, place: &str) {
        let state = self.0.lock().unwrap();
        for text in state.events.iter().chain(state.joined.values()) {
            assert!(!text.contains(SECRET), "{place}: {text}");
            // Nor its first half or its second.
            for part in ["sk-mär", "7f3a91"] {
                assert!(!text.contains(part), "{place}: {text}");
            }
        }
        assert!(!state.events.is_empty(), "{place}");
    }
}

fn redact(seen: &Seen) -> Redact<Seen> {
    let pattern = "sk-[a-zäé]{3,20}-[0-9a-f]{6}";
    Redact::new(seen.clone()).pattern(pattern).unwrap().secret("another secret")
}

fn value() -> Value {
    json!({"list": ["x", {"deep": format!("is {SECRET}.")}], SECRET: 1})
}

fn map() -> Map<String, Value> {
    value().as_object().unwrap().clone()
}

fn text() -> String {
    format!("it is {SECRET}, {SECRET}")
}

fn message() -> Message {
    let (first, second) = SECRET.split_at(6);
    let parts = vec![
        ContentPart::text(format!("it is {first}")),
        ContentPart::text(format!("{second}!")),
        ContentPart::image_url(format!("https://example.com/?key={SECRET}")).with_detail(SECRET),
    ];
    Message::new(Role::Ai, Content::Parts(parts)).with_name(SECRET).with_tool_calls([call()])
}

fn call() -> ToolCall {
    let mut call = ToolCall::new(SECRET, value().to_string()).with_id(SECRET);
    call.extra = map();
    call
}

fn result() -> LlmResult {
    let mut generation = Generation::new(text()).with_tool_calls([call()]);
    generation.reasoning = text();
    generation.refusal = text();
    generation.finish_reason = Some(FinishReason::Other(SECRET.into()));
    generation.extra = map();
    generation.logprobs = vec![
        TokenLogprob::new(SECRET, -0.1),
        TokenLogprob::new("x", -0.1).with_top_logprobs([TopLogprob::new(SECRET, -1.0)]),
    ];
    let mut usage = TokenUsage::new(1, 1);
    usage.extra = map();
    LlmResult::new()
        .with_generation(generation)
        .with_usage(usage)
        .with_model_name(SECRET)
        .with_llm_output(value())
}

#[derive(Debug)]
struct Broken(Option<Box<Broken>>);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&text())
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_ref().map(|cause| &**cause as _)
    }
}

fn error() -> Broken {
    Broken(Some(Box::new(Broken(None))))
}

on_runtimes! {
    async fn a_secret_in_any_place_of_any_event_is_masked(callbacks) {
        let seen = Seen::default();
        let callbacks = callbacks.with_handler(redact(&seen));
        let mut start = ChatModelStart::new("m", vec![message()]).with_invocation_params(map());
        start.provider = Some(SECRET.into());
        start.server_address = Some(SECRET.into());
        let mut run = callbacks.on_chat_model_start(start).await.unwrap();
        run.on_retry(Retry::new(1, error(), Duration::ZERO)).await.unwrap();
        run.end(result()).await.unwrap();

        let start = LlmStart::new("m", text()).with_invocation_params(map());
        let mut run = callbacks.on_llm_start(start).await.unwrap();
        run.on_llm_new_token(text()).await.unwrap();
        run.fail(error()).await.unwrap();

        let mut chain = callbacks.on_chain_start(ChainStart::new("c", value())).await.unwrap();
        chain.on_text(text()).await.unwrap();
        chain.on_agent_action(AgentAction::new(SECRET, value(), text())).await.unwrap();
        chain.on_agent_finish(AgentFinish::new(value(), text())).await.unwrap();
        chain.on_custom_event(CustomEvent::new("custom", value())).await.unwrap();
        let mut start = ToolStart::new("t", text())
            .with_inputs(value())
            .with_description(text())
            .with_tool_call_id(SECRET);
        start.tool_type = Some(SECRET.into());
        let tool = chain.child().on_tool_start(start).await.unwrap();
        tool.end(value()).await.unwrap();
        let tool = chain.child().on_tool_start(ToolStart::new("t", "")).await.unwrap();
        tool.fail(RunError::panicked(text())).await.unwrap();
        let retriever = chain.child().on_retriever_start(RetrieverStart::new("r", text())).await;
        let document = Document::new(text()).with_metadata(map()).with_id(SECRET);
        retriever.unwrap().end(vec![document]).await.unwrap();
        let retriever = chain.child().on_retriever_start(RetrieverStart::new("r", text())).await;
        retriever.unwrap().fail(error()).await.unwrap();
        chain.end(value()).await.unwrap();
        seen.assert_clean("all events");
        assert!(seen.count() >= 19, "{}", seen.count());
        let state = seen.0.lock().unwrap();
        assert!(state.events.iter().all(|event| event.contains(MASK) || !event.contains("it is")));
    }

    async fn a_secret_in_a_stopped_run_is_masked(callbacks) {
        let seen = Seen::default();
        let (callbacks, _failures) = with_failures(callbacks);
        let gate = rappel_handlers::Gate::new(async |_event, _cx| Err(text().into()));
        let callbacks = callbacks.with(gate).with_handler(redact(&seen));
        assert!(callbacks.on_llm_start(LlmStart::new("m", "")).await.is_err());
        callbacks.flush().await.unwrap();
        seen.assert_clean("stopped");
        assert_eq!(seen.count(), 2);
    }

    async fn the_type_of_an_error_is_kept_without_secrets(callbacks) {
        let (send, types) = std::sync::mpsc::channel();
        let handler = handler_fn(move |event: &Event, _cx| {
            if let Some(error) = event.error() {
                send.send((error.error_type().to_owned(), error.to_string()))?;
            }
            Ok(())
        });
        let handler = Redact::new(handler).pattern("sk-[a-zäé]{3,20}-[0-9a-f]{6}").unwrap();
        let callbacks = callbacks.with_handler(handler);
        for error_type in ["429", SECRET, "_OTHER"] {
            let run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
            run.fail(RunError::failed(text()).with_type(error_type)).await.unwrap();
        }
        let run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        run.fail("plain").await.unwrap();
        callbacks.flush().await.unwrap();
        let types: Vec<_> = types.try_iter().collect();
        let kinds: Vec<&str> = types.iter().map(|(kind, _)| &**kind).collect();
        assert_eq!(kinds, ["429", "[redacted]", "_OTHER", "_OTHER"]);
        assert!(types.iter().all(|(_, message)| !message.contains(SECRET)), "{types:?}");
    }

    async fn other_handlers_get_the_events_as_they_are(callbacks) {
        let (seen, out) = (Seen::default(), Output::default());
        let callbacks =
            callbacks.with_handler(redact(&seen)).with(StreamingStdout::to(out.clone()));
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        run.on_llm_new_token(text()).await.unwrap();
        run.end(text()).await.unwrap();
        assert_eq!(out.get(), text());
        seen.assert_clean("tokens");
    }
}

/// The pieces of a text with one secret: split at every byte that begins a character, in two and, if
/// `twice`, in three, and as single characters.
fn splits(twice: bool) -> Vec<Vec<String>> {
    let text = format!("it is {SECRET}!");
    let ends: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
    let mut all = vec![text.chars().map(String::from).collect()];
    for first in &ends {
        for second in ends.iter().filter(|second| first <= second) {
            if twice || *second == text.len() {
                let pieces = [&text[..*first], &text[*first..*second], &text[*second..]];
                all.push(pieces.map(str::to_owned).into());
            }
        }
    }
    all
}

/// Streams the pieces, and ends the run in one of three ways.
fn stream(chunk: impl Fn(String) -> LlmNewToken, place: &str, what: &str) {
    let pieces = splits(what == "token").into_iter();
    let endings = pieces.flat_map(|pieces| (0..3).map(move |ending| (ending, pieces.clone())));
    let base = callbacks();
    for (ending, pieces) in endings {
        let seen = Seen::default();
        let callbacks = base.clone().with_handler(redact(&seen));
        futures_executor::block_on(async {
            let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
            for piece in &pieces {
                run.on_llm_new_token(chunk(piece.clone())).await.unwrap();
            }
            match ending {
                0 => run.end("").await.unwrap(),
                1 => {
                    let last = LlmChunk::new("").with_finish_reason("stop");
                    run.on_llm_new_token(last).await.unwrap();
                    run.end("").await.unwrap();
                }
                _ => {
                    drop(run);
                    callbacks.flush().await.unwrap();
                }
            }
        });
        seen.assert_clean(&format!("{place} {pieces:?}"));
        if !what.is_empty() {
            assert_eq!(seen.joined(what), format!("it is {MASK}!"), "{place} {pieces:?}");
        }
    }
}

#[test]
fn an_async_handler_gets_no_secret_however_it_is_split() {
    for pieces in splits(true) {
        let seen = Seen::default();
        let inner = seen.clone();
        let handler = async_handler_fn(async move |event: &Event, cx: &EventContext| {
            inner.clone().on_event(event, cx)
        });
        let handler = Redact::new(handler).secret(SECRET);
        let callbacks = callbacks().with_async_handler(handler).with_metadata(map());
        futures_executor::block_on(async {
            let mut run = callbacks.on_llm_start(LlmStart::new("m", text())).await.unwrap();
            for piece in &pieces {
                run.on_llm_new_token(piece.clone()).await.unwrap();
            }
            run.end(result()).await.unwrap();
        });
        seen.assert_clean(&format!("{pieces:?}"));
        assert_eq!(seen.joined("token"), format!("it is {MASK}!"), "{pieces:?}");
        // The start, the end, and what is held back before it.
        assert!(seen.count() >= 3);
    }
}

#[test]
fn a_secret_may_straddle_tokens() {
    stream(LlmNewToken::new, "tokens", "token");
}

#[test]
fn a_secret_may_straddle_chunks_of_text_reasoning_and_refusal() {
    stream(|piece| LlmChunk::new(piece).into(), "text", "token");
    stream(|piece| LlmChunk::new(piece).into(), "text", "text");
    stream(|piece| LlmChunk::from_reasoning(piece).into(), "reasoning", "reasoning");
    stream(|piece| LlmChunk::from_refusal(piece).into(), "refusal", "refusal");
    stream(|piece| LlmChunk::new(piece).with_index(3).into(), "choice", "token");
}

#[test]
fn a_secret_may_straddle_tokens_with_and_without_a_chunk() {
    let count = std::cell::Cell::new(0);
    let mixed = |piece| {
        count.set(count.get() + 1);
        match count.get() % 2 {
            0 => LlmNewToken::new(piece),
            _ => LlmChunk::new(piece).with_model_name("m").into(),
        }
    };
    stream(mixed, "mixed", "token");
    stream(mixed, "mixed", "text");
}

#[test]
fn a_secret_may_straddle_chunks_of_tool_calls() {
    let call = |piece| ToolCallChunk::new(2, piece);
    let chunk = |piece| LlmChunk::default().with_tool_calls([call(piece)]).into();
    stream(chunk, "arguments", "arguments 2");
    let call = |piece: String| ToolCallChunk::new(1, "").with_name(piece).with_id(SECRET);
    let chunk = |piece| LlmChunk::default().with_tool_calls([call(piece)]).into();
    stream(chunk, "name", "name 1");
}

#[test]
fn a_secret_may_straddle_log_probabilities_and_other_fields_of_chunks() {
    // With so much text that each chunk is passed at once.
    let chunk = |piece: String| {
        let mut chunk = LlmChunk::new("x".repeat(100));
        let bytes = piece.clone().into_bytes();
        chunk.logprobs = vec![TokenLogprob::new(piece, -0.5).with_bytes(bytes)];
        chunk.into()
    };
    stream(chunk, "logprobs", "");
    let chunk = |piece: String| {
        let mut chunk = LlmChunk::new("x".repeat(100));
        chunk.extra = Map::from_iter([("thought".into(), json!(piece))]);
        chunk.into()
    };
    stream(chunk, "extra", "");
    let chunk = |_| {
        let mut chunk = LlmChunk::new("").with_usage(TokenUsage::new(1, 1)).with_model_name(SECRET);
        chunk.llm_output = map();
        chunk.into()
    };
    stream(chunk, "llm_output", "");
}

#[test]
fn a_secret_may_straddle_the_log_probabilities_of_a_result() {
    let bytes = format!("it is {SECRET}!").into_bytes();
    for split in 0..=bytes.len() {
        let pieces = [&bytes[..split], &bytes[split..]];
        let tokens = pieces.map(|piece| {
            let text = String::from_utf8_lossy(piece);
            TokenLogprob::new(text, -0.5).with_bytes(piece)
        });
        let mut generation = Generation::new("");
        generation.logprobs = tokens.into();
        let seen = Seen::default();
        let callbacks = callbacks().with_handler(redact(&seen));
        futures_executor::block_on(async {
            let run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
            run.end(LlmResult::new().with_generation(generation)).await.unwrap();
        });
        let end = seen.0.lock().unwrap().events[1].clone();
        let inside = (7..6 + SECRET.len()).contains(&split);
        assert_eq!(end.contains("\"bytes\":["), !inside, "split at {split}");
        seen.assert_clean(&format!("split at {split}"));
    }
}

#[test]
fn values_of_keys_are_masked_in_json_and_in_texts_that_are_json() {
    let seen = Seen::default();
    let keys = Redact::new(seen.clone()).keys(["api_key", "pin"]);
    let callbacks = callbacks().with_handler(keys);
    let value = json!({"apiKey": SECRET, "API-KEY": [SECRET], "x": [{"pin": 1234}], "pin": null});
    futures_executor::block_on(async {
        let start = ToolStart::new("t", value.to_string()).with_inputs(value.clone());
        let tool = callbacks.on_tool_start(start).await.unwrap();
        tool.end(value.to_string()).await.unwrap();
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        // Complete, and cut off in the middle.
        let whole = value.to_string();
        for (index, arguments) in [(0, &*whole), (1, &whole[..20])] {
            for piece in arguments.split_inclusive('"') {
                let call = ToolCallChunk::new(index, piece);
                let chunk = LlmChunk::default().with_tool_calls([call]);
                run.on_llm_new_token(chunk).await.unwrap();
            }
        }
        drop(run);
        callbacks.flush().await.unwrap();
    });
    seen.assert_clean("keys");
    let arguments: Value = serde_json::from_str(&seen.joined("arguments 0")).unwrap();
    let masked = json!({"apiKey": MASK, "API-KEY": MASK, "x": [{"pin": MASK}], "pin": null});
    assert_eq!(arguments, masked);
    assert_eq!(seen.joined("arguments 1"), MASK);
    assert!(!seen.0.lock().unwrap().events.iter().any(|event| event.contains("1234")));
}

#[test]
fn a_number_is_masked() {
    let seen = Seen::default();
    let numbers = Redact::new(seen.clone()).pattern("[0-9]{16}").unwrap();
    let callbacks = callbacks().with_handler(numbers);
    futures_executor::block_on(async {
        let start = ChainStart::new("c", json!({"card": 4_111_111_111_111_111_u64, "n": 7}));
        callbacks.on_chain_start(start).await.unwrap().end("").await.unwrap();
    });
    let start = seen.0.lock().unwrap().events[0].clone();
    assert!(start.contains(r#"{"card":"[redacted]","n":7}"#), "{start}");
}

#[test]
fn a_secret_in_the_name_tags_or_metadata_of_a_run_is_masked() {
    let (seen, other) = (Seen::default(), Seen::default());
    let (callbacks, failures) = with_failures(callbacks());
    let callbacks =
        callbacks.with_handler(redact(&seen).keys(["user"])).with_handler(other.clone());
    let text = text();
    let mut count = 0;
    for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
        let moved = format!("{}{text}", "é".repeat(at));
        let metadata = json!({
            "moved": moved, "list": ["x", {moved.clone(): 1}], "user": {"name": "Ada-7f3a91"},
        });
        let manager = callbacks
            .clone()
            .with_tags(["clean".to_owned(), moved.clone()])
            .with_metadata(metadata.as_object().unwrap().clone());
        futures_executor::block_on(async {
            let mut run = manager.on_llm_start(LlmStart::new(moved.clone(), "")).await.unwrap();
            run.on_llm_new_token(&text[..at]).await.unwrap();
            run.on_llm_new_token(&text[at..]).await.unwrap();
            run.end("").await.unwrap();
            manager.on_custom_event(CustomEvent::new("c", json!(1))).await.unwrap();
        });
        count += 1;
        seen.assert_clean(&format!("split at {at}"));
    }
    assert!(failures.get().is_empty(), "{:?}", failures.get());
    let (seen, other) = (seen.0.lock().unwrap(), other.0.lock().unwrap());
    // A start, at least one token, an end, and a custom event.
    assert!(seen.events.len() >= 4 * count, "{}", seen.events.len());
    assert!(seen.events.iter().all(|event| event.contains(r#"["clean","#) && event.contains(MASK)));
    assert!(other.events.iter().all(|event| event.contains(SECRET) && !event.contains(MASK)));
}

#[test]
fn a_secret_in_the_metadata_of_a_replayed_run_is_masked() {
    let out = Output::default();
    let recorded = callbacks().with(JsonLines::to(out.clone())).with_metadata(map());
    futures_executor::block_on(async {
        let mut run = recorded.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        run.on_llm_new_token("x").await.unwrap();
        run.end("").await.unwrap();
    });
    let lines = out.get();
    assert!(lines.contains(SECRET));
    // From the start, and from the middle.
    for skipped in 0..2 {
        let seen = Seen::default();
        let callbacks = callbacks().with_handler(redact(&seen));
        futures_executor::block_on(async {
            let mut replayer = rappel_core::Replayer::new(&callbacks);
            for record in JsonLines::read_from(lines.as_bytes()).skip(skipped) {
                replayer.replay(record.unwrap()).await.unwrap();
            }
        });
        assert_eq!(seen.count(), 3, "{skipped} skipped");
        seen.assert_clean("replayed");
    }
}

#[test]
fn tokens_are_left_out_on_demand() {
    let seen = Seen::default();
    let callbacks = callbacks().with_handler(redact(&seen).without_tokens());
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        run.on_llm_new_token("x").await.unwrap();
        run.end("x").await.unwrap();
    });
    assert_eq!(seen.count(), 2);
}

#[test]
fn text_without_secrets_is_only_held_back() {
    let out = Output::default();
    let handler = Redact::new(StreamingStdout::to(out.clone())).secret("12345").mask("#");
    let callbacks = callbacks().with(handler);
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        run.on_llm_new_token("Why not? ").await.unwrap();
        callbacks.flush().await.unwrap();
        assert_eq!(out.get(), "Why n");
        run.on_llm_new_token("12345 1234").await.unwrap();
        run.end("").await.unwrap();
    });
    assert_eq!(out.get(), "Why not? # 1234");
}

#[test]
fn lines_of_json_have_no_secret() {
    let out = Output::default();
    let lines = Redact::new(JsonLines::to(out.clone())).secret(SECRET);
    let callbacks = callbacks().with(lines);
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", text())).await.unwrap();
        run.on_llm_new_token(text()).await.unwrap();
        run.fail(error()).await.unwrap();
    });
    assert!(!out.get().contains("7f3a91"));
    assert_eq!(JsonLines::read_from(out.get().as_bytes()).filter(Result::is_ok).count(), 3);
}

#[test]
fn patterns_that_cannot_be_held_back_are_refused() {
    let pattern = |pattern: &str| Redact::new(Seen::default()).pattern(pattern).map(|_| ());
    assert!(matches!(pattern("sk-[a-z]+"), Err(PatternError::Unbounded { .. })));
    assert!(matches!(pattern("a?"), Err(PatternError::Empty { .. })));
    assert!(matches!(pattern(r"\bkey\b"), Err(PatternError::LooksAround { .. })));
    assert!(matches!(pattern("("), Err(PatternError::Invalid { .. })));
    assert!(pattern("(?i)KEY-[a-z]{1,9}").is_ok());
}

#[test]
fn neither_patterns_nor_errors_are_in_debug_output() {
    let seen = Seen::default();
    let text = format!("{:?}", redact(&seen).secret(SECRET));
    assert!(!text.contains("sk-") && text.contains("patterns"));
}

#[test]
fn wrappers_of_async_handlers_wrap_each_other() {
    let seen = Seen::default();
    let inner = seen.clone();
    let handler = async_handler_fn(async move |event: &Event, cx: &EventContext| {
        inner.clone().on_event(event, cx)?;
        Err(HandlerError::new("it does not like it"))
    });
    let (callbacks, failures) = with_failures(callbacks());
    let handler = Redact::new(FinalAnswer::new(Filter::new(handler).names(["m"]))).secret(SECRET);
    let callbacks = callbacks.with_async_handler(handler);
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        for piece in ["Final Ans", "wer: it is ", &SECRET[..4], &SECRET[4..], "."] {
            run.on_llm_new_token(piece).await.unwrap();
        }
        run.end("").await.unwrap();
    });
    seen.assert_clean("nested");
    assert_eq!(seen.joined("token"), format!("it is {MASK}."));
    // What the handler inside says of an event is one failure, also if it was held back.
    let failures = failures.get();
    assert!(failures.len() >= 3, "{failures:?}");
    assert!(failures.iter().all(|failure| failure.contains("it does not like it")));
}

/// Keeps all events as they are.
#[derive(Clone, Default)]
struct Raw(Arc<Mutex<Vec<Event>>>);

impl CallbackHandler for Raw {
    fn on_event(&mut self, event: &Event, _: &EventContext) -> HandlerResult {
        self.0.lock().unwrap().push(event.clone());
        Ok(())
    }
}

fn full_message(content: impl Into<Content>) -> Message {
    let mut message = Message::new(Role::Ai, content).with_name(SECRET).with_extra(map());
    message.tool_calls.push(call());
    message.tool_call_id = Some(SECRET.into());
    message
}

/// An example in which no field is empty.
fn full_result() -> LlmResult {
    let mut result = result();
    result.response_id = Some(SECRET.into());
    result.request_id = Some(SECRET.into());
    let usage = result.usage.as_mut().unwrap();
    (usage.cached_tokens, usage.cache_write_tokens, usage.reasoning_tokens) =
        (Some(1), Some(1), Some(1));
    result.generations[0].logprobs = vec![full_logprob()];
    result
}

fn full_logprob() -> TokenLogprob {
    let top = TopLogprob::new(SECRET, -1.0).with_bytes(SECRET);
    TokenLogprob::new(SECRET, -0.1).with_bytes(SECRET).with_top_logprobs([top])
}

fn full_chunk() -> LlmChunk {
    let result = full_result();
    let mut call = ToolCallChunk::new(0, text()).with_id(SECRET).with_name(SECRET);
    call.extra = map();
    let mut chunk = LlmChunk::new(text())
        .with_tool_calls([call])
        .with_finish_reason(SECRET)
        .with_usage(result.usage.unwrap())
        .with_model_name(SECRET);
    chunk.reasoning = text().into();
    chunk.refusal = text().into();
    chunk.logprobs = vec![full_logprob()];
    chunk.response_id = Some(SECRET.into());
    chunk.request_id = Some(SECRET.into());
    chunk.extra = map();
    chunk.llm_output = map();
    chunk
}

/// Emits each kind of event, with a secret in each field that is a text.
async fn emit_full_events(callbacks: &CallbackManager) {
    let start = LlmStart::new(SECRET, text())
        .with_invocation_params(map())
        .with_provider(SECRET)
        .with_server(SECRET, 80);
    let mut run = callbacks.on_llm_start(start).await.unwrap();
    run.on_retry(Retry::new(1, error(), Duration::ZERO)).await.unwrap();
    run.on_llm_new_token(full_chunk()).await.unwrap();
    run.fail(error()).await.unwrap();
    let parts = vec![ContentPart::text(SECRET), ContentPart::image_url(SECRET).with_detail(SECRET)];
    let messages = vec![full_message(SECRET), full_message(parts)];
    let start = ChatModelStart::new(SECRET, messages)
        .with_invocation_params(map())
        .with_provider(SECRET)
        .with_server(SECRET, 80);
    let run = callbacks.on_chat_model_start(start).await.unwrap();
    run.end(full_result()).await.unwrap();

    let mut chain = callbacks.on_chain_start(ChainStart::new(SECRET, value())).await.unwrap();
    chain.on_text(text()).await.unwrap();
    chain.on_agent_action(AgentAction::new(SECRET, value(), text())).await.unwrap();
    chain.on_agent_finish(AgentFinish::new(value(), text())).await.unwrap();
    chain.on_custom_event(CustomEvent::new(SECRET, value())).await.unwrap();
    let tool = || {
        ToolStart::new(SECRET, text())
            .with_inputs(value())
            .with_description(text())
            .with_tool_call_id(SECRET)
            .with_tool_type(SECRET)
    };
    chain.child().on_tool_start(tool()).await.unwrap().end(value()).await.unwrap();
    chain.child().on_tool_start(tool()).await.unwrap().fail(error()).await.unwrap();
    let start = || RetrieverStart::new(SECRET, text());
    let found = Document::new(text()).with_metadata(map()).with_id(SECRET).with_score(0.5);
    chain.child().on_retriever_start(start()).await.unwrap().end(vec![found]).await.unwrap();
    chain.child().on_retriever_start(start()).await.unwrap().fail(error()).await.unwrap();
    chain.end(value()).await.unwrap();
    let chain = callbacks.on_chain_start(ChainStart::new(SECRET, value())).await.unwrap();
    chain.fail(error()).await.unwrap();
}

/// All texts in JSON, apart from the names of variants.
fn texts(value: &Value, of: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_)
            if matches!(of, "role" | "type" | "kind") && !value.to_string().contains("-7f") => {}
        Value::String(text) => found.push(format!("{of}: {text}")),
        Value::Array(values) => values.iter().for_each(|value| texts(value, of, found)),
        Value::Object(map) => map.iter().for_each(|(key, value)| texts(value, key, found)),
        _ => {}
    }
}

/// If a new field of an event fails here, fill it in above, and mask it in `Redact`.
#[test]
fn a_secret_in_every_field_of_every_event_is_masked() {
    let (raw, seen) = (Raw::default(), Seen::default());
    let callbacks = callbacks().with_handler(raw.clone()).with_handler(redact(&seen));
    futures_executor::block_on(emit_full_events(&callbacks));
    seen.assert_clean("all fields");
    let events = raw.0.lock().unwrap();
    for kind in EventKind::ALL {
        let event = events.iter().find(|event| event.kind() == *kind);
        let event = event.unwrap_or_else(|| panic!("there is an example of {kind}"));
        // Ids that a program gives to a run are no texts. The partial result of an error is that of
        // the tokens before.
        let debug = format!("{event:?}");
        let debug = debug.split(", origin:").next().unwrap().replace("run_id: None", "");
        for empty in [": None", ": {}", ": []", ": \"\"", ": Object {}", ": Null"] {
            assert!(!debug.contains(empty), "{kind} has a field that is{empty}: {debug}");
        }
        let mut found = Vec::new();
        texts(&serde_json::to_value(event).unwrap()["data"], "", &mut found);
        assert!(!found.is_empty(), "{kind}");
        for text in found {
            assert!(text.contains(SECRET) || text == "list: x", "{kind}: {text} has no secret");
        }
    }
}

/// What a handler gets of a text that comes in two pieces, as tokens and as reasoning.
fn streamed_with_keys(first: &str, second: &str) -> Seen {
    let seen = Seen::default();
    let keys = Redact::new(seen.clone()).keys(["password"]);
    let callbacks = callbacks().with_handler(keys);
    futures_executor::block_on(async {
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        for piece in [first, second] {
            run.on_llm_new_token(piece).await.unwrap();
        }
        run.end("").await.unwrap();
        let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
        for piece in [first, second] {
            run.on_llm_new_token(LlmChunk::from_reasoning(piece)).await.unwrap();
        }
        run.end("").await.unwrap();
    });
    seen
}

#[test]
fn values_of_keys_are_masked_in_json_that_is_streamed_wherever_it_is_split() {
    for text in [
        r#"{"user":"ada","password":"hunter2"}"#,
        r#" [{"password":"hunter2"}]"#,
        "\u{feff}{\"password\":\"hunter2\"}",
        r#""{\"password\":\"hunter2\"}""#,
        r#"{"password":"hunter2"#,
    ] {
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let seen = streamed_with_keys(&text[..at], &text[at..]);
            for what in ["token", "reasoning"] {
                let joined = seen.joined(what);
                assert!(joined.contains(MASK), "{text} at {at}: {what}: {joined}");
                assert!(!joined.contains("hunter2"), "{text} at {at}: {what}: {joined}");
            }
        }
    }
    let seen = streamed_with_keys("{\"user\": ", "\"ada\"}");
    assert_eq!(seen.joined("token"), "{\"user\": \"ada\"}");
}

#[test]
fn with_keys_a_text_that_is_not_json_is_not_held_back() {
    for text in ["Why not?", "\"Why not?\" it said", "The password"] {
        let out = Output::default();
        let keys = Redact::new(StreamingStdout::to(out.clone())).keys(["password"]);
        let callbacks = callbacks().with(keys);
        futures_executor::block_on(async {
            let mut run = callbacks.on_llm_start(LlmStart::new("m", "")).await.unwrap();
            run.on_llm_new_token(" ").await.unwrap();
            run.on_llm_new_token(text).await.unwrap();
            callbacks.flush().await.unwrap();
            assert_eq!(out.get(), format!(" {text}"));
            run.end("").await.unwrap();
        });
    }
}

#[test]
fn json_that_is_too_long_to_be_held_back_is_masked() {
    let seen = streamed_with_keys("{\"password\":\"hunter2\",\"x\":\"", &"x".repeat(2 << 20));
    assert_eq!(seen.joined("token"), MASK);
}

#[test]
fn values_of_keys_are_masked_in_a_text_that_is_json_however_it_is_written() {
    for text in [
        r#"{"password":"hunter2","password":null}"#,
        r#"{"u":{"password":"hunter2"},"u":{}}"#,
        r#"{"p\u0061ssword":"hunter2","p\u0061ssword":null}"#,
        r#"[{"a:\"":"\\","u":{"password":"hunter2"},"u":1}]"#,
        "\u{feff}{\"password\":\"hunter2\"}",
        r#""{\"password\":\"hunter2\"}""#,
        r#"{"nested":"{\"password\":\"hunter2\",\"password\":null}"}"#,
    ] {
        let seen = Seen::default();
        let callbacks = callbacks().with_handler(Redact::new(seen.clone()).keys(["password"]));
        futures_executor::block_on(async {
            let run = callbacks.on_tool_start(ToolStart::new("t", text)).await.unwrap();
            run.end(text).await.unwrap();
        });
        let state = seen.0.lock().unwrap();
        assert_eq!(state.events.len(), 2);
        for event in &state.events {
            assert!(!event.contains("hunter2"), "{text}: {event}");
        }
    }
}
