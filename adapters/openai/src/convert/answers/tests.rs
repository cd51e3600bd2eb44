#![allow(clippy::unwrap_used)]

use futures_lite::{StreamExt, future::block_on, stream};
use rappel_core::{FinishReason, Message, TokenLogprob, ToolCall, json};

use super::*;

fn wire(chunk: &Value) -> wire::Chunk {
    wire::Chunk::parse(chunk.to_string().as_bytes()).unwrap()
}

/// The chunks of a stream, and what they make together.
fn streamed(chunks: &Value) -> (Vec<LlmChunk>, LlmResult) {
    let chunks: Vec<_> = chunks.as_array().unwrap().iter().map(|chunk| Ok(wire(chunk))).collect();
    let chunks: Vec<_> =
        block_on(LlmChunks::new(stream::iter(chunks)).map(Result::unwrap).collect());
    let mut result = LlmResult::new();
    chunks.iter().for_each(|chunk| result.push_chunk(chunk));
    (chunks, result)
}

#[test]
fn a_stream_that_is_done_and_said_nothing_is_no_answer() {
    let mut chunks = LlmChunks::new(stream::empty());
    let error = block_on(chunks.next());
    assert!(matches!(error, Some(Err(OpenAiError::NoChoices))), "{error:?}");
    assert!(block_on(chunks.next()).is_none());
}

#[test]
fn reasoning_and_refusals_are_no_text() {
    let (chunks, result) = streamed(&json!([
        {"choices": [{"delta": {"role": "assistant", "content": null, "reasoning_content": "let me "}}]},
        {"choices": [{"delta": {"reasoning_content": "see"}}]},
        {"choices": [{"delta": {"content": "Hi"}}]},
        {"choices": [{"delta": {"refusal": "No "}}]},
        {"choices": [{"delta": {"refusal": "more"}, "finish_reason": "content_filter"}]},
    ]));
    let texts: Vec<&str> = chunks.iter().map(|chunk| &*chunk.text).collect();
    assert_eq!(texts, ["", "", "Hi", "", ""]);
    let said = &result.generations[0];
    assert_eq!((&*said.text, &*said.reasoning, &*said.refusal), ("Hi", "let me see", "No more"));
    assert_eq!(said.finish_reason, Some(FinishReason::ContentFilter));
    assert!(said.extra.is_empty());
}

#[test]
fn each_choice_is_a_generation() {
    let (chunks, result) = streamed(&json!([
        {"choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {"content": "x"}}]},
        {"choices": [{"index": 1, "delta": {"content": "y"}, "finish_reason": "length"}]},
        {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}]},
    ]));
    assert_eq!(chunks.len(), 4);
    let texts: Vec<&str> = result.generations.iter().map(|said| &*said.text).collect();
    assert_eq!(texts, ["ab", "xy"]);
    assert_eq!(result.generations[1].finish_reason, Some(FinishReason::Length));
}

#[test]
fn a_whole_answers_choices_come_in_the_order_of_their_indices() {
    let texts = |indices: [Value; 3]| {
        let choices: Vec<Value> = ["a", "b", ""]
            .iter()
            .zip(indices)
            .map(|(text, index)| json!({"index": index, "message": {"content": text}}))
            .collect();
        let result = result(wire(&json!({ "choices": choices })));
        result.generations.iter().map(|said| said.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts([json!(1), json!(0), json!(2)]), ["b", "a", ""]);
    assert_eq!(texts([json!(7), json!(5), json!(6)]), ["b", "", "a"]);
    // Indices that say nothing.
    assert_eq!(texts([json!(0), json!(0), json!(0)]), ["a", "b", ""]);
    assert_eq!(texts([json!(null), json!(null), json!(null)]), ["a", "b", ""]);
}

/// Perplexity's whole answers have an empty delta beside the message; its streams, all that was
/// said so far beside the delta.
#[test]
fn of_a_message_and_a_delta_the_one_that_was_asked_for_counts() {
    let message = json!({"role": "assistant", "content": "Hi"});
    let whole = json!({"choices": [{"message": message, "delta": {"role": "assistant", "content": ""}, "finish_reason": "stop"}]});
    assert_eq!(result(wire(&whole)).text(), "Hi");
    let (_, streamed) = streamed(&json!([
        {"choices": [{"message": {"content": "H"}, "delta": {"content": "H"}}]},
        {"choices": [{"message": {"content": "Hi"}, "delta": {"content": "i"}}]},
    ]));
    assert_eq!(streamed.text(), "Hi");
}

#[test]
fn a_whole_answer_has_as_many_calls_as_it_lists() {
    let call = |name: &str| json!({"id": "null", "function": {"name": name, "arguments": "{}"}});
    let whole = result(wire(
        &json!({"choices": [{"message": {"tool_calls": [call("add"), call("now")]}}]}),
    ));
    let names: Vec<&str> = whole.generations[0].tool_calls.iter().map(|call| &*call.name).collect();
    assert_eq!(names, ["add", "now"]);
}

/// What tools were called before there were tools.
#[test]
fn a_function_call_is_a_tool_call() {
    let (chunks, result) = streamed(&json!([
        {"choices": [{"delta": {"content": null, "function_call": {"name": "add", "arguments": ""}}}]},
        {"choices": [{"delta": {"function_call": {"arguments": "{\"a\":"}}}]},
        {"choices": [{"delta": {"function_call": {"arguments": "1}"}}}]},
        {"choices": [{"delta": {"function_call": null}, "finish_reason": "function_call"}]},
    ]));
    assert_eq!(chunks[1].tool_calls[0].arguments, "{\"a\":");
    let said = &result.generations[0];
    assert_eq!(said.tool_calls, [ToolCall::new("add", "{\"a\":1}")]);
    assert!(said.extra.is_empty(), "{:?}", said.extra);

    let call = json!({"name": "add", "arguments": "{}"});
    let whole = super::result(wire(&json!({"choices": [{"message": {"function_call": call}}]})));
    assert_eq!(whole.generations[0].tool_calls, [ToolCall::new("add", "{}")]);
    // Some send both.
    let whole = super::result(wire(
        &json!({"choices": [{"message": {"function_call": call, "tool_calls": [{"id": "c1", "function": call}]}}]}),
    ));
    assert_eq!(whole.generations[0].tool_calls, [ToolCall::new("add", "{}").with_id("c1")]);
}

#[test]
fn what_is_said_of_the_answer_beside_is_told_once_and_kept() {
    let (chunks, result) = streamed(&json!([
        {"id": "c1", "created": 7, "system_fingerprint": "fp", "obfuscation": "x", "model": "m", "choices": [{"delta": {"content": "a"}}]},
        {"id": "c1", "created": 7, "system_fingerprint": "fp", "obfuscation": "y", "model": "m", "choices": [{"delta": {"content": "b"}}]},
        {"id": "c1", "service_tier": "flex", "choices": [], "usage": {"prompt_tokens": 1}},
    ]));
    assert_eq!(chunks[1], LlmChunk::new("b"));
    assert_eq!(Value::from(chunks[2].llm_output.clone()), json!({"service_tier": "flex"}));
    let output =
        json!({"id": "c1", "created": 7, "system_fingerprint": "fp", "service_tier": "flex"});
    assert_eq!((result.llm_output, result.model_name.as_deref()), (Some(output), Some("m")));
}

#[test]
fn what_is_said_of_a_choice_beside_is_kept() {
    let (_, result) = streamed(&json!([
        {"choices": [{"delta": {"content": "a", "reasoning_details": [1]}, "provider": "P", "stop_reason": null}]},
        {"choices": [{"delta": {"reasoning_details": [2]}, "provider": "P", "content_filter_results": {"hate": {"filtered": false}}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop", "native_finish_reason": "eos"}]},
    ]));
    let extra = json!({
        "reasoning_details": [1, 2], "provider": "P", "content_filter_results": {"hate": {"filtered": false}}, "native_finish_reason": "eos",
    });
    assert_eq!(Value::from(result.generations[0].extra.clone()), extra);
}

#[test]
fn logprobs_go_with_their_chunk() {
    let (chunks, result) = streamed(&json!([
        {"choices": [{"delta": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": -0.5}], "refusal": null}}]},
        {"choices": [{"delta": {"content": "b"}, "logprobs": {"content": [{"token": "b", "logprob": -1.5}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop", "logprobs": null}]},
    ]));
    let tokens = [TokenLogprob::new("a", -0.5), TokenLogprob::new("b", -1.5)];
    assert_eq!(chunks[1].logprobs, tokens[1..]);
    assert_eq!(result.generations[0].logprobs, tokens);

    let old = json!({"tokens": ["a"], "token_logprobs": [-0.5]});
    let result =
        super::result(wire(&json!({"choices": [{"message": {"content": "a"}, "logprobs": old}]})));
    assert_eq!(result.generations[0].extra["logprobs"], old);
}

#[test]
fn usage_has_its_details_and_what_nobody_knows() {
    let (_, result) = streamed(&json!([
        {"choices": [{"delta": {"content": "a"}}], "usage": {}},
        {"choices": [], "usage": {
            "prompt_tokens": 9, "completion_tokens": 4, "cost": 0.25,
            "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 1}, "completion_tokens_details": {"reasoning_tokens": 3},
        }},
    ]));
    let usage = result.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (9, 4, 13));
    assert_eq!((usage.cached_tokens, usage.reasoning_tokens), (Some(8), Some(3)));
    assert_eq!(
        (&usage.extra["cost"], &usage.extra["prompt_tokens_details"]["audio_tokens"]),
        (&json!(0.25), &json!(1))
    );

    let (chunks, _) = streamed(&json!([{"choices": [{"delta": {"content": "a"}}], "usage": {}}]));
    assert_eq!(chunks[0].usage, None);
}

#[test]
fn an_answer_goes_back_as_it_came() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}, "extra_content": {"s": 1}});
    let message = json!({"role": "assistant", "content": "Let me add.", "tool_calls": [call]});
    let mut result =
        result(wire(&json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]})));
    let back = [Message::from(result.generations.remove(0))];
    assert_eq!(
        serde_json::to_value(crate::convert::messages(&back, Default::default()).unwrap()).unwrap(),
        json!([message])
    );
}

/// A million empty pieces, each of a choice of its own, make no million choices.
#[test]
fn a_server_cannot_make_choices_without_an_end() {
    let mut answer = Answer::default();
    for index in [0, 500, 1_000_000, u32::MAX] {
        answer.take_in(wire(&json!({"choices": [{"index": index, "delta": {"content": ""}}]})));
    }
    assert_eq!(answer.choices.len(), MOST_CHOICES);
}
