#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn parse(json: &str) -> Chunk {
    Chunk::parse(json.as_bytes()).unwrap()
}

/// The text, reasoning and finish reason of the first choice.
fn said(json: &str) -> (Option<String>, Option<String>, Option<String>) {
    let choice = parse(json).choices.remove(0);
    let reason = choice.finish_reason.clone();
    let delta = choice.into_content();
    let reasoning = Some(delta.reasoning().to_owned()).filter(|text| !text.is_empty());
    (delta.content.text, reasoning, reason)
}

fn text(text: &str) -> (Option<String>, Option<String>, Option<String>) {
    (Some(text.to_owned()), None, None)
}

fn end(reason: &str) -> (Option<String>, Option<String>, Option<String>) {
    (None, None, Some(reason.to_owned()))
}

#[test]
fn openai() {
    let chunk = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi","refusal":null},"logprobs":null,"finish_reason":null}],"obfuscation":"x"}"#;
    assert_eq!(said(chunk), text("Hi"));
    let chunk = parse(chunk);
    assert_eq!(chunk.model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(chunk.choices[0].index, Some(0));
    let rest = json!({"id": "chatcmpl-1", "created": 1_750_000_000, "service_tier": "default", "system_fingerprint": "fp_1"});
    assert_eq!(Value::from(chunk.rest), rest);
    assert!(chunk.choices[0].rest.is_empty());
}

#[test]
fn azure_begins_with_its_content_filter() {
    let chunk = parse(
        r#"{"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0}]}"#,
    );
    assert_eq!((chunk.model, chunk.choices), (None, vec![]));
    assert_eq!(chunk.rest["prompt_filter_results"], json!([{"prompt_index": 0}]));
}

#[test]
fn ollama_and_lm_studio() {
    let chunk = r#"{"id":"chatcmpl-2","object":"chat.completion.chunk","created":1,"model":"qwen","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}"#;
    assert_eq!(said(chunk), text("Hi"));
}

#[test]
fn llama_cpp_has_null_content_and_timings() {
    let chunk = r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1,"id":"c","model":"m","timings":{"prompt_ms":1.5}}"#;
    assert_eq!(said(chunk), (None, None, None));
}

#[test]
fn text_generation_inference_has_no_time_and_ends_with_eos() {
    let chunk = r#"{"object":"chat.completion.chunk","id":"","choices":[{"index":0,"delta":{},"finish_reason":"eos"}]}"#;
    assert_eq!(said(chunk), end("eos"));
}

#[test]
fn an_empty_finish_reason_is_none() {
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":""}]}"#;
    assert_eq!(said(chunk), text("Hi"));
}

#[test]
fn a_missing_index_is_no_harm() {
    assert_eq!(said(r#"{"choices":[{"delta":{"content":"Hi"}}]}"#), text("Hi"));
}

#[test]
fn the_last_delta_may_be_null() {
    let chunk = r#"{"choices":[{"index":0,"delta":null,"finish_reason":"stop"}]}"#;
    assert_eq!(said(chunk), end("stop"));
}

#[test]
fn groq_has_a_tier_of_its_own() {
    let chunk = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"service_tier":"on_demand","x_groq":{"id":"req","usage":{"prompt_tokens":1}}}"#;
    assert_eq!(said(chunk), end("stop"));
}

#[test]
fn deepseek_and_vllm_reason() {
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":null,"reasoning_content":"hmm"},"finish_reason":null}]}"#;
    assert_eq!(said(chunk), (None, Some("hmm".into()), None));
}

#[test]
fn openrouter_reasons_twice_the_same() {
    let chunk = r#"{"id":"gen-1","provider":"P","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning":"hmm","reasoning_content":"hmm","reasoning_details":[{"type":"reasoning.text"}]},"finish_reason":null,"native_finish_reason":null}]}"#;
    assert_eq!(said(chunk), (Some(String::new()), Some("hmm".into()), None));
}

#[test]
fn mistral_has_content_in_parts() {
    let chunk = r#"{"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"H"},{"type":"reference","reference_ids":[1]},{"type":"text","text":"i"}]},"finish_reason":null}],"p":"abc"}"#;
    assert_eq!(said(chunk), text("Hi"));
    let chunk = r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hmm"}]},{"type":"text","text":"Hi"}]}}]}"#;
    assert_eq!(said(chunk), (Some("Hi".into()), Some("hmm".into()), None));
}

#[test]
fn some_stream_messages() {
    let chunk = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"}}]}"#;
    assert_eq!(said(chunk), text("Hi"));
}

#[test]
fn a_gateways_heartbeat_says_nothing() {
    let chunk = parse(r#"{"type":"ping"}"#);
    assert_eq!((chunk.choices, chunk.usage), (vec![], None));
}

#[test]
fn usage_may_come_alone_and_with_holes() {
    let usage = |json| parse(json).usage;

    let full = usage(
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":3}}}"#,
    )
    .unwrap();
    assert_eq!(full.prompt(), Some(9));
    assert_eq!(full.completion(), Some(12));
    assert_eq!(full.total_tokens, Some(21));
    assert_eq!(full.cached_tokens(), Some(4));
    assert_eq!(full.reasoning_tokens(), Some(3));
    assert_eq!(full.rest["prompt_tokens_details"]["audio_tokens"], 0);

    let holes =
        usage(r#"{"usage":{"prompt_tokens":9.0,"total_tokens":"21","completion_tokens":-1,"prompt_tokens_details":null}}"#).unwrap();
    assert_eq!(holes.prompt(), Some(9));
    assert_eq!(holes.total_tokens, Some(21));
    assert_eq!(holes.completion(), None);
    assert_eq!(holes.cached_tokens(), None);

    assert_eq!(usage(r#"{"choices":[],"usage":null}"#), None);
    assert_eq!(usage(r#"{"choices":[]}"#), None);
}

#[test]
fn tool_calls_come_whole_and_in_pieces() {
    let calls = |json| {
        let chunk = parse(json);
        chunk.choices[0].clone().into_content().tool_calls
    };

    let first = calls(
        r#"{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"add","arguments":""}}]}}]}"#,
    );
    assert_eq!(first[0].index, Some(0));
    assert_eq!(first[0].id.as_deref(), Some("call_1"));
    let function = first[0].function.as_ref().unwrap();
    assert_eq!(function.name.as_deref(), Some("add"));
    assert_eq!(function.arguments.as_deref(), Some(""));

    let next = calls(
        r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"","function":{"name":null,"arguments":"{\"a\""}}]}}]}"#,
    );
    assert_eq!((next[0].index, &next[0].id), (Some(1), &None));
    let function = next[0].function.as_ref().unwrap();
    assert_eq!(function.name, None);
    assert_eq!(function.arguments.as_deref(), Some(r#"{"a""#));

    let whole = calls(
        r#"{"choices":[{"message":{"tool_calls":[{"id":"c","function":{"name":"add","arguments":{"a":1}}}]},"finish_reason":"tool_calls"}]}"#,
    );
    let function = whole[0].function.as_ref().unwrap();
    assert_eq!(function.arguments.as_deref(), Some(r#"{"a":1}"#));
}

#[test]
fn a_whole_answer_is_read_alike() {
    let answer = parse(
        r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[
            {"index":0,"message":{"role":"assistant","content":"a","refusal":null,"annotations":[]},"finish_reason":"stop"},
            {"index":1,"message":{"role":"assistant","content":null,"refusal":"no"},"finish_reason":"content_filter"}
        ],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    );
    let message = |at: usize| answer.choices[at].clone().into_content();
    assert_eq!(message(0).content.text.as_deref(), Some("a"));
    assert_eq!(message(1).refusal.as_deref(), Some("no"));
    assert_eq!(answer.choices[1].index, Some(1));
}

/// Puts every kind of value into every field, in turn.
#[test]
fn no_type_of_any_field_is_an_error() {
    let whole = json!({
        "id": "c", "object": "o", "created": 1, "model": "m", "system_fingerprint": "f", "obfuscation": "x",
        "choices": [{
            "index": 0,
            "delta": {
                "role": "assistant", "content": "x", "refusal": "r",
                "reasoning_content": "r", "reasoning": "r",
                "tool_calls": [{"index": 0, "id": "i", "type": "function", "function": {"name": "n", "arguments": "a"}}],
            },
            "message": {},
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "t", "logprob": -1.0}]},
            "error": null,
            "x": 1,
        }],
        "usage": {
            "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "error": null,
    });
    let odd = json!([
        null, true, -1, 1.5, u64::MAX, "text", [], {}, [null, 1, "x", [[]], {"a": {}}], {"a": [1, {"b": null}]}
    ]);
    let mut fields = Vec::new();
    collect_pointers(&whole, "", &mut fields);
    assert!(fields.len() > 25, "{fields:?}");

    for field in &fields {
        for value in odd.as_array().unwrap() {
            let mut chunk = whole.clone();
            *chunk.pointer_mut(field).unwrap() = value.clone();
            let chunk = chunk.to_string();
            let chunk = Chunk::parse(chunk.as_bytes())
                .unwrap_or_else(|fault| panic!("{field}: {chunk}: {fault}"));
            crate::convert::result(chunk);
        }
    }
}

fn collect_pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let children: Vec<_> = match value {
        Value::Object(object) => object.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(list) => (0..).map(|i: usize| i.to_string()).zip(list).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let child_at = format!("{at}/{name}");
        collect_pointers(child, &child_at, found);
        found.push(child_at);
    }
}

#[test]
fn errors_in_the_place_of_a_chunk_are_noticed() {
    for json in [
        r#"{"error":{"message":"overloaded"}}"#,
        r#"{"error":"overloaded"}"#,
        r#"{"error":{},"choices":[]}"#,
        r#"{"object":"error","message":"overloaded","code":400}"#,
        r#"{"choices":[{"delta":{"content":""},"finish_reason":"error","error":{"code":502}}]}"#,
    ] {
        assert!(parse(json).is_error(), "{json}");
    }
    for json in [
        r#"{"choices":[],"error":null}"#,
        r#"{"choices":[],"error":""}"#,
        r#"{"choices":[],"error":false}"#,
    ] {
        assert!(!parse(json).is_error(), "{json}");
    }
}

/// A server that cuts its text by UTF-16 sends halves of characters, which JSON can write and UTF-8
/// cannot.
#[test]
fn half_a_character_does_not_cost_the_answer() {
    for (content, expected) in [
        (r"a\ud83d", "a\u{fffd}"),
        (r"\ude00b", "\u{fffd}b"),
        (r"\uD83D\uD83D\uDE00", "\u{fffd}\u{1f600}"),
        (r"\ud83d\n", "\u{fffd}\n"),
        (r"\\ud83d \ud83d", "\\ud83d \u{fffd}"),
        (r"\ud83d\ude00", "\u{1f600}"),
    ] {
        let chunk = format!(r#"{{"choices":[{{"delta":{{"content":"{content}"}}}}]}}"#);
        assert_eq!(said(&chunk), text(expected), "{chunk}");
    }
    for broken in [
        r#"{"a":"\ud8"#,
        r#"{"a":"\ud83d"#,
        r#"{"a":"\ud83d\"#,
        r#"{"a":"\ud83d\u"#,
        r#"{"a":"\ud83d\ux"}"#,
    ] {
        Chunk::parse(broken.as_bytes()).unwrap_err();
    }
}

#[test]
fn a_byte_order_mark_is_no_harm() {
    assert_eq!(said("\u{feff}{\"choices\":[{\"message\":{\"content\":\"Hi\"}}]}"), text("Hi"));
}

/// An empty object of two letters becomes one of a hundred bytes and more.
#[test]
fn a_list_longer_than_any_answer_has_is_refused() {
    let choices = |many: usize| format!("{{\"choices\":[{}]}}", vec!["{}"; many].join(","));
    let calls = |many: usize| {
        format!(
            "{{\"choices\":[{{\"delta\":{{\"tool_calls\":[{}]}}}}]}}",
            vec!["{}"; many].join(",")
        )
    };
    assert_eq!(parse(&choices(128)).choices.len(), 128);
    assert_eq!(parse(&calls(1024)).choices.remove(0).into_content().tool_calls.len(), 1024);
    for long in [choices(129), calls(1025)] {
        Chunk::parse(long.as_bytes()).unwrap_err();
    }
}

#[test]
fn only_what_is_no_object_is_refused_and_not_repeated() {
    for json in [
        "",
        "secret",
        r#""secret""#,
        r#"["secret"]"#,
        "[]",
        "null",
        "7",
        r#"{"id":"secret""#,
        r#"{"id":"secret"} secret"#,
        r#"{"id":secret}"#,
    ] {
        let fault = Chunk::parse(json.as_bytes()).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("secret"), "{json}");
    }
}
