//! Streams of real managers, and the bodies that clients would read.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rappel_core::{
    CallbackManager, ChainStart, ChatModelStart, Event, Generation, LlmChunk, LlmResult, Message,
    RetrieverStart, RunError, TokenUsage, ToolCall, ToolCallChunk, ToolStart, Value, json,
};
use rappel_smol::Smol;
use rappel_streams::{
    EventFilter, SlowReader, Sse, TokenError, ag_ui, check, event_stream, langchain, token_stream,
    ui_message_stream,
};
use rappel_tokio::Tokio;

fn chat(name: &str) -> ChatModelStart {
    ChatModelStart::new(name, [Message::human("what is 1 + 2?")])
}

/// An agent with reasoning, a streamed tool call, a tool that no model announced and fails, two
/// models side by side, a custom event, and an end.
async fn agent(callbacks: CallbackManager, end: Result<(), &'static str>) {
    let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
    let child = chain.child();
    let mut model = child.on_chat_model_start(chat("m")).await.unwrap();
    model.on_llm_new_token(LlmChunk::from_reasoning("I add")).await.unwrap();
    let call = ToolCallChunk::new(0, r#"{"a":1,"#).with_id("c1").with_name("add");
    model.on_llm_new_token(LlmChunk::new("").with_tool_calls([call])).await.unwrap();
    let more = LlmChunk::new("").with_tool_calls([ToolCallChunk::new(0, r#""b":2}"#)]);
    model.on_llm_new_token(more).await.unwrap();
    let call = ToolCall::new("add", r#"{"a":1,"b":2}"#).with_id("c1");
    let generation = Generation::new("").with_tool_calls([call]);
    let usage = TokenUsage::new(7, 3);
    model.end(LlmResult::new().with_generation(generation).with_usage(usage)).await.unwrap();
    let tool = ToolStart::new("add", "1 + 2").with_tool_call_id("c1");
    let tool = child.on_tool_start(tool).await.unwrap();
    let mut hidden = tool.child().on_chat_model_start(chat("inside")).await.unwrap();
    hidden.on_llm_new_token("hidden").await.unwrap();
    hidden.end("hidden").await.unwrap();
    tool.end(json!(3)).await.unwrap();
    let other = child.on_tool_start(ToolStart::new("search", "x")).await.unwrap();
    other.fail("no such page").await.unwrap();
    let mut one = child.on_chat_model_start(chat("m")).await.unwrap();
    let mut two = child.on_chat_model_start(chat("m")).await.unwrap();
    one.on_llm_new_token("It ").await.unwrap();
    two.on_llm_new_token("is ").await.unwrap();
    one.end("It ").await.unwrap();
    two.on_llm_new_token("3").await.unwrap();
    match end {
        Err("cancelled") => return,
        Err("handed over") => {
            two.fail(RunError::HandedOver).await.unwrap();
            return chain.fail(RunError::HandedOver).await.unwrap();
        }
        _ => {}
    }
    two.end("is 3").await.unwrap();
    // A chain of the same name, side by side with its parent.
    let inner = child.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
    inner.end("done").await.unwrap();
    match end {
        Ok(()) => chain.end("It is 3").await.unwrap(),
        Err(error) => chain.fail(error).await.unwrap(),
    }
}

async fn body<E>(callbacks: &CallbackManager, encoder: E, end: Result<(), &'static str>) -> String
where
    E: rappel_streams::Encoder + Unpin,
{
    let stream = event_stream(EventFilter::new());
    let callbacks = stream.attach(callbacks).unwrap();
    let frames = Sse::new(stream.drive(agent(callbacks, end)), encoder);
    frames.map(|frame| frame.unwrap()).collect().await
}

async fn bodies(callbacks: CallbackManager) {
    for (end, ui, ag) in [
        (Ok(()), r#""type":"finish""#, r#""outcome":{"type":"success"}"#),
        (Err("bad luck"), r#""type":"error""#, "RUN_ERROR"),
        (Err("cancelled"), r#""type":"abort""#, r#""outcome":{"type":"cancelled"}"#),
    ] {
        let text = body(&callbacks, ui_message_stream(), end).await;
        check::ui_message_stream(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
        assert!(text.contains(ui), "{text}");
        assert!(!text.contains("hidden\"}"), "the text of a tool's model is not the answer");
        let text = body(&callbacks, ag_ui("thread", "run"), end).await;
        check::ag_ui(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
        assert!(text.contains(ag), "{text}");
        let text = body(&callbacks, langchain(), end).await;
        let parts = check::sse_data(&text).unwrap();
        let count = |what: &str| parts.iter().filter(|part| part.contains(what)).count();
        assert_eq!(count("_start\""), count("_end\"") + count("_error\""), "{text}");
    }
}

#[tokio::test]
async fn bodies_keep_their_grammar_whatever_the_end() {
    bodies(CallbackManager::new(Tokio::current())).await;
}

#[test]
fn bodies_keep_their_grammar_under_smol() {
    smol::block_on(bodies(CallbackManager::new(Smol::global())));
}

#[tokio::test]
async fn a_text_with_any_character_comes_as_it_is() {
    const TEXT: &str = "data: \"x\\y\"\n\ndata: \u{1}\r\u{2028}\u{7f}ü\u{1f600}";
    async fn encoded(encoder: impl rappel_streams::Encoder + Unpin) -> Vec<Value> {
        let stream = event_stream(EventFilter::new());
        let callbacks = stream.attach(&CallbackManager::new(Tokio::current())).unwrap();
        let work = async move {
            let mut run = callbacks.on_chat_model_start(chat("m")).await.unwrap();
            run.on_llm_new_token(TEXT).await.unwrap();
            run.end(TEXT).await.unwrap();
        };
        let frames = Sse::new(stream.drive(work), encoder);
        let body: String = frames.map(|frame| frame.unwrap()).collect().await;
        let data = check::sse_data(&body).unwrap().into_iter().filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }
    let ui = encoded(ui_message_stream()).await;
    assert!(ui.iter().any(|part| part["delta"] == TEXT), "{ui:?}");
    let ag = encoded(ag_ui("t", "r")).await;
    assert!(ag.iter().any(|part| part["delta"] == TEXT), "{ag:?}");
    let events = encoded(langchain()).await;
    assert!(events.iter().any(|event| event["data"]["chunk"]["content"] == TEXT), "{events:?}");
}

#[tokio::test]
async fn a_tool_that_starts_before_its_model_has_ended_is_announced_once() {
    let work = |callbacks: CallbackManager| async move {
        let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
        // The server uses its ids again in the second turn.
        for _ in 0..2 {
            let mut model = chain.child().on_chat_model_start(chat("m")).await.unwrap();
            let call = ToolCallChunk::new(0, "{}").with_id("c1").with_name("add");
            model.on_llm_new_token(LlmChunk::new("").with_tool_calls([call])).await.unwrap();
            let tool = ToolStart::new("add", "{}").with_tool_call_id("c1");
            let tool = chain.child().on_tool_start(tool).await.unwrap();
            tool.end(json!(3)).await.unwrap();
            let call = ToolCall::new("add", "{}").with_id("c1");
            let generation = Generation::new("").with_tool_calls([call]);
            model.end(LlmResult::new().with_generation(generation)).await.unwrap();
        }
        chain.end("3").await.unwrap();
    };
    let callbacks = CallbackManager::new(Tokio::current());
    let stream = event_stream(EventFilter::new());
    let attached = stream.attach(&callbacks).unwrap();
    let frames = Sse::new(stream.drive(work(attached)), ui_message_stream());
    let text: String = frames.map(|frame| frame.unwrap()).collect().await;
    check::ui_message_stream(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
    let stream = event_stream(EventFilter::new());
    let attached = stream.attach(&callbacks).unwrap();
    let frames = Sse::new(stream.drive(work(attached)), ag_ui("t", "r"));
    let text: String = frames.map(|frame| frame.unwrap()).collect().await;
    check::ag_ui(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
}

#[tokio::test]
async fn five_mutations_of_a_body_are_found() {
    let callbacks = CallbackManager::new(Tokio::current());
    let ui = body(&callbacks, ui_message_stream(), Ok(())).await;
    let ag = body(&callbacks, ag_ui("thread", "run"), Ok(())).await;
    let without = |body: &str, what: &str| -> String {
        let frames: Vec<&str> = body.split_inclusive("\n\n").collect();
        assert!(frames.iter().any(|frame| frame.contains(what)), "{what}");
        frames.into_iter().filter(|frame| !frame.contains(what)).collect()
    };
    // No end.
    assert!(check::ui_message_stream(&without(&ui, r#""type":"finish""#)).is_err());
    assert!(check::ui_message_stream(&without(&ui, "[DONE]")).is_err());
    assert!(check::ag_ui(&without(&ag, "RUN_FINISHED")).is_err());
    // No end of a text.
    assert!(check::ui_message_stream(&without(&ui, "text-end")).is_err());
    assert!(check::ag_ui(&without(&ag, "TEXT_MESSAGE_END")).is_err());
    // An output before its input.
    assert!(check::ui_message_stream(&without(&ui, "tool-input-available")).is_err());
    assert!(check::ag_ui(&without(&ag, "TOOL_CALL_END")).is_err());
    // A second output.
    let twice = |body: &str, what: &str| -> String {
        let frames = body.split_inclusive("\n\n");
        frames.map(|frame| frame.repeat(if frame.contains(what) { 2 } else { 1 })).collect()
    };
    assert!(check::ui_message_stream(&twice(&ui, "tool-output-available")).is_err());
    assert!(check::ag_ui(&twice(&ag, "TOOL_CALL_RESULT")).is_err());
    // Two open steps of one name.
    assert!(check::ag_ui(&ag.replace("agent (2)", "agent")).is_err());
    // A finish after an error.
    let error = "data: {\"type\":\"error\",\"errorText\":\"x\"}\n\ndata: {\"type\":\"finish\"";
    assert!(
        check::ui_message_stream(
            &ui.replace("data: {\"finishReason\":\"stop\",\"type\":\"finish\"", error)
        )
        .is_err()
    );
    let error = "data: {\"type\":\"RUN_ERROR\",\"message\":\"x\"}\n\n";
    assert!(check::ag_ui(&format!("{ag}{error}")).is_err());
}

#[tokio::test]
async fn the_tokens_are_the_answer_and_end_with_the_error() {
    let callbacks = CallbackManager::new(Tokio::current());
    for end in [Ok(()), Err("bad luck"), Err("cancelled"), Err("handed over")] {
        let tokens = token_stream();
        let callbacks = tokens.attach(&callbacks).unwrap();
        let items: Vec<_> = tokens.drive(agent(callbacks, end)).collect().await;
        let text: String = items.iter().flatten().map(String::as_str).collect();
        assert_eq!(text, "It is 3");
        match (end, items.last()) {
            (Ok(()), Some(Ok(_))) => {}
            (Err("cancelled"), Some(Err(TokenError::Run(RunError::Cancelled)))) => {}
            (Err("handed over"), Some(Err(TokenError::Run(RunError::HandedOver)))) => {}
            (Err("bad luck"), Some(Err(TokenError::Run(RunError::Failed(_))))) => {}
            (end, last) => panic!("{end:?} {last:?}"),
        }
    }
}

#[tokio::test]
async fn the_text_of_a_model_that_does_not_stream_is_one_token() {
    let tokens = token_stream();
    let callbacks = tokens.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let work = async move {
        let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
        let model = chain.child().on_chat_model_start(chat("silent")).await.unwrap();
        model.end("It is").await.unwrap();
        let tool = chain.child().on_tool_start(ToolStart::new("add", "{}")).await.unwrap();
        tool.child().on_chat_model_start(chat("hidden")).await.unwrap().end("?").await.unwrap();
        tool.end("3").await.unwrap();
        let mut model = chain.child().on_chat_model_start(chat("streams")).await.unwrap();
        model.on_llm_new_token(" 3").await.unwrap();
        model.end(" 3").await.unwrap();
        chain.end("It is 3").await.unwrap();
    };
    let items: Vec<_> = tokens.drive(work).map(Result::unwrap).collect().await;
    assert_eq!(items, ["It is", " 3"]);

    let tokens = token_stream();
    let callbacks = tokens.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let root = async { callbacks.on_chat_model_start(chat("m")).await.unwrap().end("yes").await };
    let items: Vec<_> = tokens.drive(root).map(Result::unwrap).collect().await;
    assert_eq!(items, ["yes"]);
}

#[tokio::test]
async fn a_retriever_or_a_tool_before_the_answer_does_not_end_the_stream() {
    let tokens = token_stream();
    let callbacks = tokens.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let work = async move {
        // No chain is around them, so each is a trace of its own.
        let search = RetrieverStart::new("search", "q");
        callbacks.on_retriever_start(search).await.unwrap().end(Vec::new()).await.unwrap();
        let tool = callbacks.on_tool_start(ToolStart::new("clock", "{}")).await.unwrap();
        tool.end("noon").await.unwrap();
        let mut model = callbacks.on_chat_model_start(chat("m")).await.unwrap();
        model.on_llm_new_token("It is noon").await.unwrap();
        model.end("It is noon").await.unwrap();
    };
    let items: Vec<_> = tokens.drive(work).map(Result::unwrap).collect().await;
    assert_eq!(items, ["It is noon"]);

    let tokens = token_stream();
    let callbacks = tokens.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let work = async move {
        let search = RetrieverStart::new("search", "q");
        let run = callbacks.on_retriever_start(search).await.unwrap();
        run.fail("it is down").await.unwrap();
    };
    let items: Vec<_> = tokens.drive(work).collect().await;
    assert!(matches!(&items[..], [Err(TokenError::Run(RunError::Failed(_)))]), "{items:?}");
}

#[tokio::test]
async fn a_trace_that_starts_beside_the_first_is_not_the_answer() {
    let tokens = token_stream();
    let callbacks = tokens.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let work = async move {
        let agent = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
        let mut title = callbacks.on_chat_model_start(chat("title")).await.unwrap();
        let mut model = agent.child().on_chat_model_start(chat("m")).await.unwrap();
        title.on_llm_new_token("A title").await.unwrap();
        model.on_llm_new_token("It is ").await.unwrap();
        title.end("A title").await.unwrap();
        model.on_llm_new_token("3").await.unwrap();
        model.end("It is 3").await.unwrap();
        agent.end("It is 3").await.unwrap();
    };
    let items: Vec<_> = tokens.drive(work).map(Result::unwrap).collect().await;
    assert_eq!(items, ["It is ", "3"]);
}

#[tokio::test]
async fn dropping_the_driven_stream_drops_the_work() {
    let (sender, mut receiver) = tokio::sync::oneshot::channel::<()>();
    let tokens = token_stream();
    let callbacks = tokens.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let mut tokens = Box::pin(tokens.drive(async move {
        let _held = sender;
        let mut run = callbacks.on_chat_model_start(chat("m")).await.unwrap();
        run.on_llm_new_token("a").await.unwrap();
        std::future::pending::<()>().await;
    }));
    assert_eq!(tokens.next().await.unwrap().unwrap(), "a");
    drop(tokens);
    let closed = tokio::sync::oneshot::error::TryRecvError::Closed;
    assert_eq!(receiver.try_recv(), Err(closed));
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_off_and_no_other_loses_an_event() {
    for slow in [SlowReader::Disconnect, SlowReader::Coalesce { max_bytes: 100 }] {
        let stuck = event_stream(EventFilter::new()).slow_reader(slow);
        let reader = event_stream(EventFilter::new()).slow_reader(SlowReader::coalesce());
        let callbacks = stuck.attach(&CallbackManager::new(Tokio::current())).unwrap();
        let callbacks = reader.attach(&callbacks).unwrap();
        let mut run = callbacks.on_chat_model_start(chat("m")).await.unwrap();
        for _ in 0..300 {
            run.on_llm_new_token("x").await.unwrap();
        }
        run.end("done").await.unwrap();
        drop(callbacks);
        let stuck: Vec<_> = stuck.collect().await;
        let [Err(lagged)] = &stuck[..] else { panic!("{stuck:?}") };
        assert_eq!(lagged.runs, 1);
        let mut text = String::new();
        let mut reader = pin!(reader);
        while let Some(record) = reader.next().await {
            if let Some(Event::LlmNewToken(token)) = record.unwrap().event {
                text.push_str(&token.token);
            }
        }
        assert_eq!(text.len(), 300);
    }
}

#[tokio::test(start_paused = true)]
async fn an_emitter_waits_for_a_reader_that_waits_until_the_time_is_over() {
    let slow = SlowReader::Wait { at_most: Duration::from_secs(5) };
    let mut stream = event_stream(EventFilter::new()).slow_reader(slow);
    let callbacks = stream.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let mut run = callbacks.on_chat_model_start(chat("m")).await.unwrap();
    for _ in 0..255 {
        run.on_llm_new_token("x").await.unwrap();
    }
    let mut emit = Box::pin(run.on_llm_new_token("y"));
    assert!(emit.as_mut().now_or_never().is_none(), "the queue is full");
    assert!(stream.next().await.unwrap().is_ok());
    emit.await.unwrap();
    let begin = tokio::time::Instant::now();
    run.on_llm_new_token("z").await.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(5));
    assert!(stream.next().await.unwrap().is_err());
    assert!(stream.next().await.is_none());
}
