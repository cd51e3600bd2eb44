//! The tool calls of a body: each has one id at the page, and none that failed is left pending.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rappel_core::{
    CallbackManager, ChainRun, ChainStart, ChatModelStart, Generation, LlmChunk, LlmResult,
    Message, Retry, RunError, TokenUsage, ToolCall, ToolCallChunk, ToolStart, Value,
};
use rappel_streams::{
    Encoder, EventFilter, SlowReader, Sse, ag_ui, check, event_stream, ui_message_stream,
};
use rappel_tokio::Tokio;

fn chat() -> ChatModelStart {
    ChatModelStart::new("m", [Message::human("q")])
}

fn piece(id: &str, arguments: &str) -> LlmChunk {
    let call = ToolCallChunk::new(0, arguments).with_id(id).with_name("add");
    LlmChunk::new("").with_tool_calls([call])
}

fn call(id: &str, arguments: &str) -> LlmResult {
    let call = ToolCall::new("add", arguments).with_id(id);
    LlmResult::new().with_generation(Generation::new("").with_tool_calls([call]))
}

fn parts(body: &str) -> Vec<Value> {
    let data = check::sse_data(body).unwrap().into_iter().filter(|data| *data != "[DONE]");
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// The field of all parts of this type.
fn fields(parts: &[Value], kind: &str, field: &str) -> Vec<String> {
    let of_kind = parts.iter().filter(|part| part["type"] == kind);
    of_kind.map(|part| part[field].as_str().unwrap().to_owned()).collect()
}

async fn body<W: Future>(
    encoder: impl Encoder + Unpin,
    work: impl FnOnce(ChainRun) -> W,
) -> String {
    let stream = event_stream(EventFilter::new());
    let callbacks = stream.attach(&CallbackManager::new(Tokio::current())).unwrap();
    let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
    drop(callbacks);
    Sse::new(stream.drive(work(chain)), encoder).map(|frame| frame.unwrap()).collect().await
}

/// The bodies of the same work in both protocols. Each keeps its grammar.
async fn bodies<W: Future>(work: impl Fn(ChainRun) -> W) -> (Vec<Value>, Vec<Value>) {
    let ui = body(ui_message_stream(), &work).await;
    check::ui_message_stream(&ui).unwrap_or_else(|flaw| panic!("{flaw}\n{ui}"));
    let ag = body(ag_ui("thread", "run"), &work).await;
    check::ag_ui(&ag).unwrap_or_else(|flaw| panic!("{flaw}\n{ag}"));
    (parts(&ui), parts(&ag))
}

#[tokio::test]
async fn a_call_whose_arguments_are_not_json_has_a_result_with_the_error() {
    let (ui, ag) = bodies(|chain| async move {
        let model = chain.child().on_chat_model_start(chat()).await.unwrap();
        model.end(call("c1", "{\"a\":")).await.unwrap();
        chain.end("done").await.unwrap();
    })
    .await;
    assert_eq!(fields(&ui, "tool-input-error", "toolCallId"), ["c1"]);
    assert_eq!(fields(&ag, "TOOL_CALL_END", "toolCallId"), ["c1"]);
    let [error] = &fields(&ag, "TOOL_CALL_RESULT", "content")[..] else { panic!("{ag:?}") };
    assert!(error.starts_with("the arguments are not JSON"), "{error}");
}

#[tokio::test]
async fn a_tool_that_runs_for_a_failed_call_is_a_call_of_its_own() {
    let (ui, ag) = bodies(|chain| async move {
        let model = chain.child().on_chat_model_start(chat()).await.unwrap();
        model.end(call("c1", "1 + 2")).await.unwrap();
        let tool = ToolStart::new("add", "1 + 2").with_tool_call_id("c1");
        let tool = chain.child().on_tool_start(tool).await.unwrap();
        tool.end("3").await.unwrap();
        chain.end("3").await.unwrap();
    })
    .await;
    assert_eq!(fields(&ui, "tool-output-available", "toolCallId"), ["c1-2"]);
    assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "toolCallId"), ["c1", "c1-2"]);
}

#[tokio::test]
async fn a_call_that_its_model_does_not_complete_has_a_result_with_the_error() {
    for error in ["bad luck", "cancelled"] {
        let (ui, ag) = bodies(|chain| async move {
            let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
            model.on_llm_new_token(piece("c1", "{\"a\":")).await.unwrap();
            match error {
                "cancelled" => drop(model),
                error => model.fail(error).await.unwrap(),
            }
            chain.fail("over").await.unwrap();
        })
        .await;
        assert_eq!(fields(&ui, "tool-input-error", "errorText").len(), 1);
        let [text] = &fields(&ag, "TOOL_CALL_RESULT", "content")[..] else { panic!("{ag:?}") };
        assert!(text.contains(error), "{text}");
    }
}

#[tokio::test]
async fn a_call_that_no_tool_ran_is_pending_only_if_the_request_succeeds() {
    for end in ["success", "failure", "cancelled"] {
        let (ui, ag) = bodies(|chain| async move {
            let model = chain.child().on_chat_model_start(chat()).await.unwrap();
            model.end(call("c1", "{}")).await.unwrap();
            match end {
                "success" => chain.end("the page calls the tool").await.unwrap(),
                "failure" => chain.fail("bad luck").await.unwrap(),
                _ => drop(chain),
            }
        })
        .await;
        let results = if end == "success" { 0 } else { 1 };
        assert_eq!(fields(&ui, "tool-output-error", "errorText").len(), results, "{end}");
        assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "content").len(), results, "{end}");
    }
}

/// A tool and a streamed call that are open when `end` comes.
async fn open_calls(encoder: impl Encoder + Unpin, end: &str) -> String {
    let manager = CallbackManager::new(Tokio::current());
    let stream = event_stream(EventFilter::new()).slow_reader(SlowReader::Disconnect);
    let callbacks = stream.attach(&manager).unwrap();
    let mut body = Sse::new(stream, encoder);
    let chain = callbacks.on_chain_start(ChainStart::new("agent", "q")).await.unwrap();
    let tool = ToolStart::new("search", "x").with_tool_call_id("c0");
    let tool = chain.child().on_tool_start(tool).await.unwrap();
    let model = chain.child().on_chat_model_start(chat()).await.unwrap();
    model.end(call("c1", "{}")).await.unwrap();
    let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
    model.on_llm_new_token(piece("c2", "{\"a\":")).await.unwrap();
    let mut text = String::new();
    while let Some(Some(frame)) = body.next().now_or_never() {
        text.push_str(&frame.unwrap());
    }
    match end {
        "shutdown" => drop(manager.shutdown(Duration::ZERO).await),
        "lag" => {
            for _ in 0..300 {
                model.on_llm_new_token("more").await.unwrap();
            }
        }
        _ => {}
    }
    drop((tool, model, chain, callbacks, manager));
    let rest: String = body.map(|frame| frame.unwrap()).collect().await;
    text + &rest
}

#[tokio::test]
async fn no_call_is_pending_after_a_cancelled_request_a_shutdown_or_a_lag() {
    for end in ["shutdown", "cancelled", "lag"] {
        let text = open_calls(ag_ui("thread", "run"), end).await;
        check::ag_ui(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
        let mut results = fields(&parts(&text), "TOOL_CALL_RESULT", "toolCallId");
        results.sort();
        assert_eq!(results, ["c0", "c1", "c2"], "{end}\n{text}");
        let text = open_calls(ui_message_stream(), end).await;
        check::ui_message_stream(&text).unwrap_or_else(|flaw| panic!("{flaw}\n{text}"));
        let mut errors = fields(&parts(&text), "tool-output-error", "toolCallId");
        errors.extend(fields(&parts(&text), "tool-input-error", "toolCallId"));
        errors.sort();
        assert_eq!(errors, ["c0", "c1", "c2"], "{end}\n{text}");
    }
}

#[tokio::test]
async fn a_repeated_attempt_closes_the_parts_of_the_failed_one_and_has_its_own() {
    for open in ["text", "reasoning", "call"] {
        let (ui, ag) = bodies(|chain| async move {
            let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
            let begin = || match open {
                "text" => LlmChunk::new("It"),
                "reasoning" => LlmChunk::from_reasoning("I add"),
                _ => piece("c1", "{\"a\""),
            };
            model.on_llm_new_token(begin()).await.unwrap();
            model.on_retry(Retry::new(1, "connection reset", Duration::ZERO)).await.unwrap();
            model.on_llm_new_token(begin()).await.unwrap();
            if open == "call" {
                let rest = LlmChunk::new("").with_tool_calls([ToolCallChunk::new(0, ":1}")]);
                model.on_llm_new_token(rest).await.unwrap();
            }
            model.end(call("c1", "{\"a\":1}")).await.unwrap();
            let tool = ToolStart::new("add", "1").with_tool_call_id("c1");
            let tool = chain.child().on_tool_start(tool).await.unwrap();
            tool.end("3").await.unwrap();
            chain.end("3").await.unwrap();
        })
        .await;
        match open {
            "text" => {
                assert_eq!(fields(&ui, "text-end", "id").len(), 2, "{ui:?}");
                assert_eq!(fields(&ag, "TEXT_MESSAGE_END", "messageId").len(), 2, "{ag:?}");
            }
            "reasoning" => {
                assert_eq!(fields(&ui, "reasoning-end", "id").len(), 2, "{ui:?}");
                assert_eq!(fields(&ag, "REASONING_END", "messageId").len(), 2, "{ag:?}");
            }
            _ => {
                assert_eq!(fields(&ui, "tool-input-start", "toolCallId"), ["c1", "c1-2"]);
                assert_eq!(fields(&ui, "tool-input-error", "errorText"), ["connection reset"]);
                assert_eq!(fields(&ui, "tool-output-available", "toolCallId"), ["c1-2"]);
                assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "toolCallId"), ["c1", "c1-2"]);
                let results = fields(&ag, "TOOL_CALL_RESULT", "content");
                assert_eq!(results, ["connection reset", "3"]);
            }
        }
    }
}

#[tokio::test]
async fn an_attempt_that_is_not_streamed_shows_its_text_after_one_that_was() {
    let (ui, ag) = bodies(|chain| async move {
        let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
        model.on_llm_new_token("It").await.unwrap();
        model.on_retry(Retry::new(1, "connection reset", Duration::ZERO)).await.unwrap();
        model.end("It is 3").await.unwrap();
        chain.end("It is 3").await.unwrap();
    })
    .await;
    assert_eq!(fields(&ui, "text-delta", "delta"), ["It", "It is 3"]);
    assert_eq!(fields(&ag, "TEXT_MESSAGE_CONTENT", "delta"), ["It", "It is 3"]);
}

#[tokio::test]
async fn calls_that_use_an_id_again_have_ids_and_outputs_of_their_own() {
    let (ui, ag) = bodies(|chain| async move {
        // The first model fails in the middle of its call, a second model repeats it. The third
        // and the fourth are further turns, one streamed, and one not.
        let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
        model.on_llm_new_token(piece("c1", "{")).await.unwrap();
        model.fail("connection reset").await.unwrap();
        for (streamed, output) in [(true, "one"), (true, "two"), (false, "three")] {
            let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
            if streamed {
                model.on_llm_new_token(piece("c1", "{}")).await.unwrap();
            }
            model.end(call("c1", "{}")).await.unwrap();
            let tool = ToolStart::new("add", "{}").with_tool_call_id("c1");
            let tool = chain.child().on_tool_start(tool).await.unwrap();
            tool.end(output).await.unwrap();
        }
        chain.end("done").await.unwrap();
    })
    .await;
    let ids = ["c1-2", "c1-3", "c1-4"];
    assert_eq!(fields(&ui, "tool-input-available", "toolCallId"), ids);
    assert_eq!(fields(&ui, "tool-output-available", "toolCallId"), ids);
    assert_eq!(fields(&ui, "tool-output-available", "output"), ["one", "two", "three"]);
    assert!(ui.iter().all(|part| part["dynamic"].is_null()), "models announced them: {ui:?}");
    let ids = ["c1", "c1-2", "c1-3", "c1-4"];
    assert_eq!(fields(&ag, "TOOL_CALL_START", "toolCallId"), ids);
    assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "toolCallId"), ids);
}

#[tokio::test]
async fn a_begun_call_that_the_result_does_not_have_fails_and_hides_no_other() {
    let (ui, ag) = bodies(|chain| async move {
        let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
        model.on_llm_new_token(piece("c1", "{")).await.unwrap();
        model.end(call("c2", "{}")).await.unwrap();
        chain.end("done").await.unwrap();
    })
    .await;
    assert_eq!(fields(&ui, "tool-input-error", "toolCallId"), ["c1"]);
    assert_eq!(fields(&ui, "tool-input-available", "toolCallId"), ["c2"]);
    assert_eq!(fields(&ag, "TOOL_CALL_START", "toolCallId"), ["c1", "c2"]);
    assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "toolCallId"), ["c1"]);
}

#[tokio::test]
async fn a_tool_belongs_to_the_call_of_the_model_beside_it() {
    let (ui, ag) = bodies(|chain| async move {
        let one = chain.child().on_chain_start(ChainStart::new("one", "q")).await.unwrap();
        let two = chain.child().on_chain_start(ChainStart::new("two", "q")).await.unwrap();
        for side in [&one, &two] {
            let model = side.child().on_chat_model_start(chat()).await.unwrap();
            model.end(call("c1", "{}")).await.unwrap();
        }
        for (side, output) in [(&one, "one"), (&two, "two")] {
            let tool = ToolStart::new("add", "{}").with_tool_call_id("c1");
            let tool = side.child().on_tool_start(tool).await.unwrap();
            tool.end(output).await.unwrap();
        }
        drop((one, two));
        chain.end("done").await.unwrap();
    })
    .await;
    assert_eq!(fields(&ui, "tool-output-available", "toolCallId"), ["c1", "c1-2"]);
    assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "toolCallId"), ["c1", "c1-2"]);
}

#[tokio::test]
async fn a_tool_that_is_run_again_for_a_call_is_a_call_of_its_own() {
    let (ui, ag) = bodies(|chain| async move {
        let model = chain.child().on_chat_model_start(chat()).await.unwrap();
        model.end(call("c1", "{}")).await.unwrap();
        for fails in [true, false] {
            let tool = ToolStart::new("add", "{}").with_tool_call_id("c1");
            let tool = chain.child().on_tool_start(tool).await.unwrap();
            match fails {
                true => tool.fail("bad luck").await.unwrap(),
                false => tool.end("3").await.unwrap(),
            }
        }
        chain.end("done").await.unwrap();
    })
    .await;
    assert_eq!(fields(&ui, "tool-output-error", "toolCallId"), ["c1"]);
    assert_eq!(fields(&ui, "tool-output-available", "toolCallId"), ["c1-2"]);
    assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "content"), ["bad luck", "3"]);
}

#[tokio::test]
async fn the_messages_of_two_responses_have_different_ids() {
    let answer = |chain: ChainRun| async move {
        let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
        model.on_llm_new_token("It is 3").await.unwrap();
        model.end("It is 3").await.unwrap();
        chain.end("It is 3").await.unwrap();
    };
    // A page of AG-UI adds the text to an earlier message of the same id.
    let one = parts(&body(ag_ui("thread", "one"), answer).await);
    let two = parts(&body(ag_ui("thread", "two"), answer).await);
    let id = |parts: &[Value]| fields(parts, "TEXT_MESSAGE_START", "messageId");
    assert_ne!(id(&one), id(&two));
}

/// A call that no tool has run, a tool that runs, and a model in the middle of a text and of a call,
/// when another process takes them. The chain is left to the caller.
async fn hand_over(chain: &ChainRun) {
    let model = chain.child().on_chat_model_start(chat()).await.unwrap();
    let calls = ["c1", "c2"].map(|id| ToolCall::new("add", "{}").with_id(id));
    let generation = Generation::new("").with_tool_calls(calls);
    model.end(LlmResult::new().with_generation(generation)).await.unwrap();
    let tool = ToolStart::new("add", "{}").with_tool_call_id("c2");
    let tool = chain.child().on_tool_start(tool).await.unwrap();
    let mut model = chain.child().on_chat_model_start(chat()).await.unwrap();
    model.on_llm_new_token("It ").await.unwrap();
    let last = piece("c3", "{\"a\":").with_usage(TokenUsage::new(7, 3));
    model.on_llm_new_token(last).await.unwrap();
    model.fail(RunError::HandedOver).await.unwrap();
    tool.fail(RunError::HandedOver).await.unwrap();
}

#[tokio::test]
async fn a_request_that_another_process_goes_on_with_has_no_errors() {
    let (ui, ag) = bodies(|chain| async move {
        hand_over(&chain).await;
        chain.fail(RunError::HandedOver).await.unwrap();
    })
    .await;
    let errors = ["error", "tool-input-error", "tool-output-error", "message-metadata"];
    for kind in errors {
        assert!(ui.iter().all(|part| part["type"] != kind), "{kind}: {ui:#?}");
    }
    assert_eq!(ui.last().unwrap()["type"], "abort");
    assert_eq!(ui.last().unwrap()["reason"], "handed_over");
    for kind in ["RUN_ERROR", "TOOL_CALL_RESULT"] {
        assert!(ag.iter().all(|part| part["type"] != kind), "{kind}: {ag:#?}");
    }
    assert_eq!(ag.last().unwrap()["outcome"]["type"], "cancelled");
    assert_eq!(fields(&ag, "TOOL_CALL_END", "toolCallId"), ["c1", "c2", "c3"]);
}

#[tokio::test]
async fn a_call_that_was_handed_over_gets_an_error_if_its_request_fails() {
    let (ui, ag) = bodies(|chain| async move {
        hand_over(&chain).await;
        chain.fail("bad luck").await.unwrap();
    })
    .await;
    assert_eq!(fields(&ui, "tool-input-error", "toolCallId"), ["c3"]);
    assert_eq!(fields(&ui, "tool-output-error", "toolCallId"), ["c2", "c1"]);
    assert_eq!(fields(&ag, "TOOL_CALL_RESULT", "toolCallId"), ["c3", "c2", "c1"]);
}
