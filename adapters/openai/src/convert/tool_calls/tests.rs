#![allow(clippy::unwrap_used)]

use rappel_core::{LlmChunk, LlmResult, Value, json};

use super::*;

/// The calls that the deltas make: id, name and arguments of each.
fn together(deltas: Value) -> Vec<(String, String, String)> {
    let (mut calls, mut result) = (Calls::default(), LlmResult::new());
    for delta in deltas.as_array().unwrap() {
        let deltas: Vec<ToolCallDelta> = serde_json::from_value(delta.clone()).unwrap();
        let many = deltas.len();
        let pieces = deltas
            .into_iter()
            .enumerate()
            .map(|(position, delta)| calls.piece((many > 1).then_some(position), delta));
        result.push_chunk(&LlmChunk::default().with_tool_calls(pieces));
    }
    let calls = result.generations.remove(0).tool_calls.into_iter();
    calls.map(|call| (call.id.unwrap_or_default(), call.name, call.arguments)).collect()
}

#[track_caller]
fn check(deltas: Value, expected: &[(&str, &str, &str)]) {
    let calls = together(deltas);
    let calls: Vec<_> =
        calls.iter().map(|(id, name, arguments)| (&**id, &**name, &**arguments)).collect();
    assert_eq!(calls, expected);
}

#[test]
fn openai_counts_its_calls() {
    check(
        json!([
            [{"index": 0, "id": "c1", "type": "function", "function": {"name": "add", "arguments": ""}}],
            [{"index": 0, "function": {"arguments": "{\"a\":"}}],
            [{"index": 0, "function": {"arguments": "1}"}}],
            [{"index": 1, "id": "c2", "type": "function", "function": {"name": "now", "arguments": ""}}],
            [{"index": 1, "function": {"arguments": "{}"}}],
        ]),
        &[("c1", "add", "{\"a\":1}"), ("c2", "now", "{}")],
    );
}

#[test]
fn pieces_of_two_calls_may_take_turns() {
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "add"}}, {"index": 1, "id": "c2", "function": {"name": "now"}}],
            [{"index": 1, "function": {"arguments": "{"}}, {"index": 0, "function": {"arguments": "["}}],
            [{"index": 0, "function": {"arguments": "]"}}, {"index": 1, "function": {"arguments": "}"}}],
        ]),
        &[("c1", "add", "[]"), ("c2", "now", "{}")],
    );
}

#[test]
fn a_count_from_one_makes_no_empty_call() {
    check(
        json!([
            [{"index": 1, "id": "c1", "function": {"name": "add", "arguments": "{"}}],
            [{"index": 1, "function": {"arguments": "}"}}],
        ]),
        &[("c1", "add", "{}")],
    );
}

#[test]
fn calls_that_are_all_counted_as_zero_are_told_apart_by_their_ids() {
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{}"}}],
            [{"index": 0, "id": "c2", "function": {"name": "add", "arguments": "{}"}}],
        ]),
        &[("c1", "add", "{}"), ("c2", "add", "{}")],
    );
}

/// Some servers use the function's name, or the word "null", as id.
#[test]
fn calls_of_the_same_id_are_told_apart_by_their_count() {
    check(
        json!([
            [{"index": 0, "id": "null", "function": {"name": "add", "arguments": "["}}],
            [{"index": 0, "id": "null", "function": {"arguments": "]"}}],
            [{"index": 1, "id": "null", "function": {"name": "add", "arguments": "{"}}],
            [{"index": 1, "id": "null", "function": {"arguments": "}"}}],
        ]),
        &[("null", "add", "[]"), ("null", "add", "{}")],
    );
    // Without numbers, the only piece of a list may belong to the second call.
    check(
        json!([
            [{"id": "c1", "function": {"name": "add"}}, {"id": "c2", "function": {"name": "now"}}],
            [{"id": "c2", "function": {"arguments": "{}"}}],
        ]),
        &[("c1", "add", ""), ("c2", "now", "{}")],
    );
}

#[test]
fn without_ids_a_new_name_begins_a_new_call() {
    check(
        json!([
            [{"function": {"name": "add", "arguments": {"a": 1}}}],
            [{"function": {"name": "now", "arguments": "{}"}}],
        ]),
        &[("", "add", "{\"a\":1}"), ("", "now", "{}")],
    );
    check(
        json!([[{"function": {"name": "add", "arguments": "{}"}}, {"function": {"name": "add", "arguments": "[]"}}]]),
        &[("", "add", "{}"), ("", "add", "[]")],
    );
}

#[test]
fn what_is_repeated_with_every_piece_is_taken_once() {
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{"}}],
            [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "}"}}],
            [{"index": 0, "id": "", "function": {"name": "", "arguments": " "}}],
        ]),
        &[("c1", "add", "{} ")],
    );
}

#[test]
fn a_name_may_come_in_pieces() {
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "get_"}}],
            [{"index": 0, "function": {"name": "weather", "arguments": "{}"}}],
        ]),
        &[("c1", "get_weather", "{}")],
    );
}

#[test]
fn what_only_the_server_knows_stays_with_the_call() {
    let delta = json!({"id": "c1", "function": {"name": "add"}, "extra_content": {"google": {"thought_signature": "s"}}});
    let piece = Calls::default().piece(None, serde_json::from_value(delta).unwrap());
    assert_eq!(
        Value::from(piece.extra),
        json!({"extra_content": {"google": {"thought_signature": "s"}}})
    );
}

#[test]
fn a_server_cannot_make_calls_without_an_end() {
    let mut calls = Calls::default();
    for number in 0..5_000 {
        let delta = json!({"index": number, "id": number.to_string(), "function": {"name": "add"}});
        calls.piece(None, serde_json::from_value(delta).unwrap());
    }
    assert_eq!(calls.calls.len(), MOST_CALLS);
}

#[test]
fn a_name_may_come_after_the_arguments() {
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "", "arguments": "{\"a\""}}],
            [{"index": 0, "function": {"arguments": ":1}"}}],
            [{"index": 0, "function": {"name": "add", "arguments": ""}}],
            [{"index": 1, "function": {"arguments": "{}"}}],
            [{"index": 1, "id": "c2", "function": {"name": "now"}}],
        ]),
        &[("c1", "add", "{\"a\":1}"), ("c2", "now", "{}")],
    );
}

#[test]
fn a_new_id_with_every_piece_makes_no_new_call() {
    for name in [json!(null), json!("add")] {
        check(
            json!([
                [{"index": 0, "id": "c0", "function": {"name": "add", "arguments": ""}}],
                [{"index": 0, "id": "c1", "function": {"name": name, "arguments": "{\"a\""}}],
                [{"index": 0, "id": "c2", "function": {"name": name, "arguments": ":1}"}}],
                [{"index": 0, "id": "c3", "function": {"arguments": ""}}],
            ]),
            &[("c0", "add", "{\"a\":1}")],
        );
    }
}

#[test]
fn whole_calls_of_one_number_are_told_apart() {
    // With ids, without, and with one id for all.
    for (one, two) in
        [(json!("c1"), json!("c2")), (json!(null), json!(null)), (json!("c1"), json!("c1"))]
    {
        let (id, other) = (one.as_str().unwrap_or_default(), two.as_str().unwrap_or_default());
        for name in ["add", "now"] {
            check(
                json!([
                    [{"index": 0, "id": one, "function": {"name": "add", "arguments": "{\"a\":1}"}}],
                    [{"index": 0, "id": two, "function": {"name": name, "arguments": "{\"a\":2}"}}],
                ]),
                &[(id, "add", "{\"a\":1}"), (other, name, "{\"a\":2}")],
            );
        }
    }
    // The name comes in a piece of its own.
    check(
        json!([
            [{"index": 0, "function": {"name": "add", "arguments": ""}}],
            [{"index": 0, "function": {"arguments": "{\"a\":1}"}}],
            [{"index": 0, "function": {"name": "add", "arguments": ""}}],
            [{"index": 0, "function": {"arguments": "{\"a\":2}"}}],
        ]),
        &[("", "add", "{\"a\":1}"), ("", "add", "{\"a\":2}")],
    );
    // Without arguments.
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "now", "arguments": ""}}],
            [{"index": 0, "id": "c2", "function": {"name": "now", "arguments": ""}}],
        ]),
        &[("c1", "now", ""), ("c2", "now", "")],
    );
}

#[test]
fn what_comes_after_whole_arguments_may_say_nothing() {
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{\"a\":{}}"}}],
            [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": ""}}],
            [{"index": 0, "function": {"name": "add", "arguments": "\n"}}],
            [{"index": 0, "id": "c1", "function": {"name": "add", "arguments": "{\"a\":{}}"}}],
        ]),
        &[("c1", "add", "{\"a\":{}}\n")],
    );
}

#[test]
fn a_piece_without_number_and_id_belongs_to_the_open_call() {
    check(
        json!([
            [{"id": "c1", "function": {"name": "a", "arguments": ""}}],
            [{"function": {"arguments": "{\"x\":"}}],
            [{"function": {"arguments": "{}}"}}],
            [{"id": "c2", "function": {"name": "b", "arguments": ""}}],
            [{"function": {"arguments": "{"}}],
            [{"function": {"arguments": "}"}}],
        ]),
        &[("c1", "a", "{\"x\":{}}"), ("c2", "b", "{}")],
    );
    // The number counts the pieces.
    check(
        json!([
            [{"index": 0, "id": "c1", "function": {"name": "a", "arguments": "{\"x\""}}],
            [{"index": 1, "function": {"arguments": ":1"}}],
            [{"index": 2, "function": {"arguments": "}"}}],
        ]),
        &[("c1", "a", "{\"x\":1}")],
    );
}

#[test]
fn a_call_may_have_no_function_around_its_name() {
    check(
        json!([[{"id": "c1", "name": "add", "arguments": {"a": 1}}]]),
        &[("c1", "add", "{\"a\":1}")],
    );
}

/// Each piece repeats the id, so that it is compared with the arguments so far.
#[test]
fn blanks_after_the_arguments_are_not_kept() {
    let piece =
        |arguments: &str| json!([{"index": 0, "id": "c", "function": {"arguments": arguments}}]);
    let blank = " ".repeat(MOST_KEPT - 10);
    let mut calls = Calls::default();
    for arguments in [" {", "}", &blank, " ", "\n"] {
        let deltas: Vec<ToolCallDelta> = serde_json::from_value(piece(arguments)).unwrap();
        deltas.into_iter().for_each(|delta| drop(calls.piece(None, delta)));
    }
    assert_eq!(calls.calls[0].arguments.text.as_deref(), Some("{}"));
    check(
        json!([piece("{\"a\": 1}"), piece(" "), piece("{\"a\": 1} \n")]),
        &[("c", "", "{\"a\": 1} ")],
    );
}
