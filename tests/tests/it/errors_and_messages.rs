//! What errors and messages carry beside their texts.

use rappel_core::prelude::*;
use rappel_core::{Generation, ToolCall, Value, json};

#[derive(Debug)]
struct Own;

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("own")
    }
}

impl std::error::Error for Own {}

#[test]
fn an_error_has_a_type_for_metrics_and_keeps_its_cause() {
    let plain = RunError::failed(Own);
    assert_eq!(plain.error_type(), "_OTHER");
    let typed = plain.with_type("429").with_type("timeout");
    assert_eq!((typed.error_type(), typed.to_string()), ("timeout", "own".to_owned()));
    assert!(typed.cause::<Own>().is_some());
    assert!(matches!(typed, RunError::Failed(_)));
    // It stays when the error is passed on.
    assert_eq!(RunError::failed(typed).error_type(), "timeout");
    assert_eq!(RunError::Cancelled.with_type("429").error_type(), "cancelled");
    assert_eq!(RunError::panicked("oh").error_type(), "panic");
}

#[test]
fn empty_arguments_are_an_empty_object() {
    for empty in ["", " \n"] {
        assert_eq!(ToolCall::new("now", empty).parse_arguments().unwrap(), json!({}));
    }
    assert_eq!(ToolCall::new("now", "[1]").parse_arguments().unwrap(), json!([1]));
    ToolCall::new("now", "{").parse_arguments().unwrap_err();
}

#[test]
fn a_message_keeps_what_its_provider_needs_back() {
    let mut generation = Generation::new("Hi");
    generation.reasoning = "hm".to_owned();
    let extra = json!({"reasoning_details": [1], "sender": "BOT", "thought_signature": "s"});
    generation.extra = extra.as_object().unwrap().clone();
    let message = Message::from(generation);
    assert_eq!(
        Value::Object(message.extra),
        json!({"reasoning_content": "hm", "reasoning_details": [1], "thought_signature": "s"})
    );
    assert!(Message::from(Generation::new("Hi")).extra.is_empty());
}
