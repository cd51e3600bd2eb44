//! `docs/events.md`, its JSON Schema and what the code writes say the same.

use std::collections::BTreeSet;
use std::path::Path;

use rappel_core::prelude::*;
use rappel_core::result::{Generation, TokenLogprob, ToolCallChunk, TopLogprob};
use rappel_core::{ContentPart, Value, json};
use rappel_tests::runtimes::Flavour;

use crate::examples::example;
use crate::records_are_replayed::recorded;

fn docs(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("docs").join(name)).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&docs("event_record.schema.json")).unwrap()
}

/// Checks values against the schema: as much of JSON Schema as it uses. It is stricter, so that
/// nothing is written that the schema does not name: an object with `properties` has no others.
struct Checker {
    schema: Value,
    /// The fields that were there, as `definition.field`.
    seen: BTreeSet<String>,
}

impl Checker {
    fn new() -> Self {
        Self { schema: schema(), seen: BTreeSet::new() }
    }

    fn check_record(&mut self, value: &Value) -> Result<(), String> {
        let schema = self.schema.clone();
        self.check(&schema, "record", value)
    }

    fn check_definition(&mut self, name: &str, value: &Value) -> Result<(), String> {
        let schema = self.schema["$defs"][name].clone();
        assert!(schema.is_object(), "no definition of {name}");
        self.check(&schema, name, value)
    }

    fn check(&mut self, schema: &Value, place: &str, value: &Value) -> Result<(), String> {
        for (keyword, rule) in schema.as_object().unwrap() {
            let fail = |what: &str| Err(format!("{place}: {value} is not {what} {rule}"));
            match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "format" | "then" => {}
                "$ref" => {
                    let name = rule.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                    self.check_definition(name, value)?;
                }
                "type" => {
                    let fits = match rule.as_str().unwrap() {
                        "string" => value.is_string(),
                        "integer" => value.is_u64() || value.is_i64(),
                        "number" => value.is_number(),
                        "boolean" => value.is_boolean(),
                        "object" => value.is_object(),
                        "array" => value.is_array(),
                        "null" => value.is_null(),
                        other => panic!("the type {other}"),
                    };
                    if !fits {
                        return fail("of the type");
                    }
                }
                "const" if value != rule => return fail("the constant"),
                "enum" if !rule.as_array().unwrap().contains(value) => return fail("one of"),
                "const" | "enum" => {}
                "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => {
                    return fail("at least");
                }
                "minimum" => {}
                "required" if value.is_object() => {
                    for field in rule.as_array().unwrap() {
                        if value.get(field.as_str().unwrap()).is_none() {
                            return Err(format!("{place}: {value} has no {field}"));
                        }
                    }
                }
                "required" => {}
                "properties" => {
                    for (field, value) in value.as_object().into_iter().flatten() {
                        match rule.get(field) {
                            Some(rule) => {
                                self.seen.insert(format!("{place}.{field}"));
                                self.check(rule, &format!("{place}.{field}"), value)?;
                            }
                            None if schema.get("type").is_some() => {
                                return Err(format!("{place}: `{field}` is not in the schema"));
                            }
                            None => {}
                        }
                    }
                }
                "items" => {
                    for value in value.as_array().into_iter().flatten() {
                        self.check(rule, place, value)?;
                    }
                }
                "allOf" => {
                    for rule in rule.as_array().unwrap() {
                        self.check(rule, place, value)?;
                    }
                }
                "anyOf" => {
                    let rules = rule.as_array().unwrap();
                    let mut failures = Vec::new();
                    for rule in rules {
                        match self.check(rule, place, value) {
                            Ok(()) => break,
                            Err(error) => failures.push(error),
                        }
                    }
                    if failures.len() == rules.len() {
                        return Err(failures.join("; "));
                    }
                }
                "if" => {
                    let applies = self.check(rule, place, value).is_ok();
                    if applies {
                        self.check(&schema["then"], place, value)?;
                    }
                }
                other => panic!("the schema uses `{other}`, which this test does not check"),
            }
        }
        Ok(())
    }
}

/// Every field of every definition, as `definition.field`.
fn fields() -> BTreeSet<String> {
    let schema = schema();
    let of = |place: &str, schema: &Value| -> Vec<String> {
        let fields = schema["properties"].as_object().into_iter().flatten();
        fields.map(|(field, _)| format!("{place}.{field}")).collect()
    };
    let mut fields: BTreeSet<String> = of("record", &schema).into_iter().collect();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        fields.extend(of(name, definition));
    }
    fields
}

fn object(value: Value) -> rappel_core::Map<String, Value> {
    value.as_object().cloned().unwrap()
}

/// A result, and a chunk, with every field.
fn full() -> (LlmResult, LlmChunk) {
    let extra = || object(json!({ "index": 1 }));
    let mut top = TopLogprob::new("No", -0.5);
    top.bytes = Some(b"No".to_vec());
    let logprob = TokenLogprob::new("No", -0.1).with_bytes(*b"No").with_top_logprobs([top]);
    let mut call = rappel_core::ToolCall::new("clock", "{}").with_id("call_1");
    call.extra = extra();
    let mut generation = Generation::new("noon").with_finish_reason("stop").with_tool_calls([call]);
    generation.logprobs.push(logprob.clone());
    generation.extra = extra();
    let mut usage = TokenUsage::new(3, 4)
        .with_cached_tokens(1)
        .with_cache_write_tokens(1)
        .with_reasoning_tokens(2);
    usage.extra = extra();
    let mut result = LlmResult::new()
        .with_generation(generation)
        .with_usage(usage.clone())
        .with_model_name("m-1")
        .with_llm_output(json!({ "id": "r" }));
    (result.response_id, result.request_id) = (Some("r-1".into()), Some("q-1".into()));
    let mut piece = ToolCallChunk::new(0, "{").with_id("call_1").with_name("clock");
    piece.extra = extra();
    let mut chunk = LlmChunk::new("No").with_index(1).with_tool_calls([piece]);
    (chunk.reasoning, chunk.refusal) = ("Hm".into(), "I won't".into());
    chunk.logprobs.push(logprob);
    chunk = chunk.with_finish_reason("stop").with_usage(usage).with_model_name("m-1");
    (chunk.extra, chunk.llm_output) = (extra(), extra());
    (chunk.response_id, chunk.request_id) = (Some("r-1".into()), Some("q-1".into()));
    (result, chunk)
}

/// Events that together have every field.
fn events() -> Vec<Event> {
    let (result, chunk) = full();
    let params = || object(json!({ "temperature": 0.1 }));
    let error = || -> RunError {
        let text = r#"{"kind":"stopped","type":"Budget","message":"over","causes":["sum"],
            "handler":{"name":"Gate","event":"on_llm_start","run":"01a205a1-6396-775d-be15-ed94cb3f8993"}}"#;
        serde_json::from_str(text).unwrap()
    };
    let failed: RunError =
        serde_json::from_str(r#"{"kind":"failed","type":"Timeout","message":"slow","causes":[]}"#)
            .unwrap();
    let mut call = rappel_core::ToolCall::new("clock", "{}").with_id("call_1");
    call.extra = object(json!({ "signature": "s" }));
    let parts = vec![
        ContentPart::text("Look:"),
        ContentPart::image_url("https://example.org/a.png").with_detail("low"),
    ];
    let messages = [
        Message::human(parts).with_name("ann"),
        Message::ai("")
            .with_tool_calls([call])
            .with_extra(object(json!({ "reasoning_content": "Hm" }))),
        Message::tool("call_1", "noon"),
    ];
    let mut chain_end = ChainEnd::new(json!(1));
    let mut tool_end = ToolEnd::new(json!(1));
    let mut retriever_end = RetrieverEnd::new([Document::new("t").with_id("d").with_score(0.3)]);
    let (mut chain_error, mut tool_error) = (ChainError::new(failed), ToolError::new(error()));
    let mut retriever_error = RetrieverError::new(RunError::panicked("index out of bounds"));
    (chain_end.open_children, chain_error.open_children) = (1, 1);
    (tool_end.open_children, tool_error.open_children) = (1, 1);
    (retriever_end.open_children, retriever_error.open_children) = (1, 1);
    tool_end.tool_call_id = Some("call_1".into());
    tool_error.tool_call_id = Some("call_1".into());
    vec![
        LlmStart::new("m", "Hi")
            .with_invocation_params(params())
            .with_provider("openai")
            .with_server("api.openai.com", 443)
            .into(),
        ChatModelStart::new("m", messages)
            .with_invocation_params(params())
            .with_provider("openai")
            .with_server("api.openai.com", 443)
            .into(),
        LlmNewToken::new("No").into(),
        LlmNewToken::from(chunk).into(),
        LlmEnd::new(result.clone()).into(),
        LlmEnd::new(LlmResult::new()).into(),
        LlmError::new(error(), result).into(),
        ChainStart::agent("a").into(),
        ChainStart::new("c", json!([1])).into(),
        chain_end.into(),
        chain_error.into(),
        ToolStart::new("clock", "{}")
            .with_inputs(json!({}))
            .with_description("Tells the time")
            .with_tool_call_id("call_1")
            .with_tool_type("function")
            .into(),
        tool_end.into(),
        tool_error.into(),
        RetrieverStart::new("r", "q").into(),
        retriever_end.into(),
        retriever_error.into(),
        AgentAction::new("clock", json!({}), "I look").into(),
        AgentFinish::new(json!("noon"), "I know").into(),
        Text::new("text").into(),
        Retry::new(1, "reset", std::time::Duration::from_millis(5)).into(),
        CustomEvent::new("progress", json!(0.5)).into(),
    ]
}

/// The lines of a trace.
fn lines() -> Vec<String> {
    let (sender, lines) = std::sync::mpsc::channel();
    Flavour::TokioCurrentThread.run(async move |rt: rappel_tests::runtimes::Rt| {
        sender.send(recorded(&rt).await).unwrap();
    });
    lines.recv().unwrap()
}

#[test]
fn all_that_is_written_is_in_the_schema_and_all_of_the_schema_is_written() {
    let mut checker = Checker::new();
    for event in events() {
        let written = serde_json::to_value(&event).unwrap();
        assert_eq!(written["kind"], json!(event.kind().method()));
        checker.check_definition(event.kind().method(), &written["data"]).unwrap();
    }
    for line in lines() {
        let mut record: Value = serde_json::from_str(&line).unwrap();
        checker.check_record(&record).unwrap();
        record["lost"] = json!({ "dropped": 1, "refused_runs": 2, "coalesced": 3 });
        let read: rappel_core::record::EventRecord =
            serde_json::from_value(record.clone()).unwrap();
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(again, record);
        checker.check_record(&again).unwrap();
    }
    let unwritten: Vec<_> = fields().difference(&checker.seen).cloned().collect();
    assert!(unwritten.is_empty(), "in the schema, and never written: {unwritten:?}");
}

type Breaks = fn(&mut Value);

#[test]
fn what_is_wrong_is_not_in_the_schema() {
    let line = lines().remove(0);
    let wrong: [(&str, Breaks); 6] = [
        ("`new` is not in the schema", |record| record["new"] = json!(1)),
        ("has no \"source\"", |record| drop(record.as_object_mut().unwrap().remove("source"))),
        ("has no \"tags\"", |record| drop(record.as_object_mut().unwrap().remove("tags"))),
        ("of the type \"integer\"", |record| record["seq"] = json!("0")),
        ("has no \"inputs\"", |record| record["data"] = json!({ "name": "n" })),
        ("at least 0", |record| record["tseq"] = json!(-1)),
    ];
    for (expected, change) in wrong {
        let mut record: Value = serde_json::from_str(&line).unwrap();
        change(&mut record);
        let error = Checker::new().check_record(&record).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// The fields of the page's tables, and whether they are always written.
fn documented() -> BTreeSet<(String, bool)> {
    let page = docs("events.md");
    let mut place = String::new();
    let mut fields = BTreeSet::new();
    for line in page.lines() {
        if line == "## The record" {
            place = "record".into();
        } else if let Some(name) = line.strip_prefix("### ") {
            place = name.to_lowercase().replace(' ', "_");
        } else if let Some(row) = line.strip_prefix("| `") {
            let (field, rest) = row.split_once("` | ").unwrap();
            let always = rest.split(" | ").nth(1).unwrap().trim() == "yes";
            assert!(rest.trim_end_matches(" |").ends_with('.'), "{line}");
            assert!(fields.insert((format!("{place}.{field}"), always)), "{line} comes twice");
        }
    }
    fields
}

#[test]
fn the_page_describes_each_field() {
    let schema = schema();
    let always = |field: &String| {
        let (place, field) = field.split_once('.').unwrap();
        let definition = if place == "record" { &schema } else { &schema["$defs"][place] };
        definition["required"].as_array().unwrap().contains(&json!(field))
    };
    let expected: BTreeSet<_> =
        fields().into_iter().map(|field| (field.clone(), always(&field))).collect();
    assert_eq!(documented(), expected);
    for kind in EventKind::ALL {
        assert!(schema["$defs"][kind.method()].is_object(), "{kind}");
    }
}

#[test]
fn its_example_is_an_example_that_runs() {
    let page = docs("events.md");
    let name = "record_and_replay";
    let (_, rest) =
        page.split_once(&format!("<!-- tests/examples/{name}.rs -->\n```rust\n")).unwrap();
    let (code, _) = rest.split_once("```").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(root.join(format!("examples/{name}.rs"))).unwrap();
    assert_eq!(code, file);
    assert_eq!(page.matches("```rust").count(), 1, "a block without an example");
    let output = example(name).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "my-model on_llm_start Some(0)\nmy-model on_llm_new_token Some(1)\nmy-model on_llm_end Some(2)\n"
    );
}
