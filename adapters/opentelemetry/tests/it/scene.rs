//! An agent that asks a model, calls a tool, looks something up, and asks again.

use std::collections::BTreeMap;
use std::time::Duration;

use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use rappel_core::{
    CallbackManager, ChainStart, ChatModelStart, CustomEvent, Document, Generation, LlmChunk,
    LlmResult, LlmStart, Map, Message, RetrieverStart, Retry, RunError, TokenUsage, ToolCall,
    ToolStart, Value, json,
};

/// The text of an attribute of any type.
pub(crate) fn text(value: &AnyValue) -> Option<String> {
    Some(match value.value.as_ref()? {
        ProtoValue::StringValue(text) => text.clone(),
        ProtoValue::BoolValue(value) => value.to_string(),
        ProtoValue::IntValue(value) => value.to_string(),
        ProtoValue::DoubleValue(value) => format!("{value:?}"),
        ProtoValue::ArrayValue(list) => {
            list.values.iter().filter_map(text).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    })
}

pub(crate) fn attributes(span: &Span) -> BTreeMap<String, String> {
    let pair = |kv: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        Some((kv.key.clone(), text(kv.value.as_ref()?)?))
    };
    let all: BTreeMap<_, _> = span.attributes.iter().filter_map(pair).collect();
    assert_eq!(all.len(), span.attributes.len(), "no attribute is there twice: {span:?}");
    all
}

pub(crate) fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn params() -> Map<String, Value> {
    map(json!({
        "model": "gpt-4o-mini", "temperature": 0.5, "top_p": 0.9, "top_k": 40, "max_tokens": 100,
        "seed": 7, "n": 2, "frequency_penalty": 0.1, "presence_penalty": 0.2, "stop": ["END"],
        "stream": true, "reasoning_effort": "low", "response_format": {"type": "json_object"},
        "tools": [{"type": "function", "function": {
            "name": "weather", "description": "Tells the weather", "parameters": {"type": "object"},
        }}],
    }))
}

fn usage() -> TokenUsage {
    let usage = TokenUsage::new(120, 30).with_cached_tokens(100).with_cache_write_tokens(20);
    usage.with_reasoning_tokens(12)
}

fn call() -> ToolCall {
    ToolCall::new("weather", r#"{"city":"Nîmes"}"#).with_id("call-1")
}

/// The agent. It has everything that spans can show.
pub(crate) async fn agent(callbacks: &CallbackManager) {
    let metadata = map(json!({ "session_id": "session-1", "user_id": "user-1", "plan": "free" }));
    let callbacks = callbacks.clone().with_inheritable_tags(["prod"]);
    let callbacks = callbacks.with_inheritable_metadata(metadata);
    let start = ChainStart::agent("forecaster").with_inputs(json!({ "question": "Sun?" }));
    let agent = callbacks.on_chain_start(start).await.unwrap();

    let ask = || {
        let tool_answer = Message::tool("call-0", "mild");
        let messages = vec![
            Message::system("Be brief"),
            Message::human("Sun?").with_name("ada"),
            Message::ai("").with_tool_calls([call()]),
            tool_answer,
        ];
        ChatModelStart::new("ChatOpenAi", messages)
            .with_invocation_params(params())
            .with_provider("openai")
            .with_server("api.openai.com", 443)
    };
    let mut model = agent.child().on_chat_model_start(ask()).await.unwrap();
    model.on_retry(Retry::new(1, "status 503", Duration::from_millis(20))).await.unwrap();
    model.on_llm_new_token("I").await.unwrap();
    model.on_llm_new_token(" look").await.unwrap();
    let generation = Generation::new("I look").with_finish_reason("tool_calls");
    let mut result = LlmResult::new()
        .with_generation(generation.with_tool_calls([call()]))
        .with_usage(usage())
        .with_model_name("gpt-4o-mini-2024-07-18");
    result.response_id = Some("chatcmpl-1".into());
    model.end(result).await.unwrap();

    let start = ToolStart::new("weather", "Nîmes").with_inputs(json!({ "city": "Nîmes" }));
    let start = start.with_description("Tells the weather").with_tool_call_id("call-1");
    let mut tool = agent.child().on_tool_start(start.with_tool_type("function")).await.unwrap();
    tool.on_custom_event(CustomEvent::new("progress", json!({ "done": 50 }))).await.unwrap();
    tool.end("sunny").await.unwrap();

    let start = RetrieverStart::new("almanac", "Nîmes");
    let retriever = agent.child().on_retriever_start(start).await.unwrap();
    let document = Document::new("It is dry").with_id("doc-1").with_score(0.9);
    let document = document.with_metadata(map(json!({ "page": 3 })));
    retriever.end(vec![document]).await.unwrap();

    let failing = agent.child().on_chain_start(ChainStart::new("plan", "now")).await.unwrap();
    let error = RunError::failed("no route").with_type("routing");
    failing.fail(error).await.unwrap();

    let start = LlmStart::new("old-model", "Finish:");
    let cancelled = agent.child().on_llm_start(start).await.unwrap();
    drop(cancelled);
    agent.end(json!({ "answer": "sunny" })).await.unwrap();
}

/// An agent, its tool and its model, which writes a token that has usage. Another process goes on with
/// all of them.
pub(crate) async fn handed_over(callbacks: &CallbackManager) {
    let agent = callbacks.on_chain_start(ChainStart::agent("forecaster")).await.unwrap();
    let tool = agent.child().on_tool_start(ToolStart::new("weather", "Nîmes")).await.unwrap();
    let start = ChatModelStart::new("model", vec![Message::human("Sun?")]);
    let mut model = agent.child().on_chat_model_start(start).await.unwrap();
    model.on_llm_new_token(LlmChunk::new("I").with_usage(usage())).await.unwrap();
    model.fail(RunError::HandedOver).await.unwrap();
    tool.fail(RunError::HandedOver).await.unwrap();
    agent.fail(RunError::HandedOver).await.unwrap();
}

/// A small trace: a chain, a model under it, a tool under that.
pub(crate) async fn small(callbacks: &CallbackManager) {
    let chain = callbacks.on_chain_start(ChainStart::new("chain", "in")).await.unwrap();
    let start = ChatModelStart::new("model", vec![Message::human("hi")]);
    let mut model = chain.child().on_chat_model_start(start).await.unwrap();
    model.on_llm_new_token("a").await.unwrap();
    let tool = model.child().on_tool_start(ToolStart::new("tool", "x")).await.unwrap();
    tool.end("y").await.unwrap();
    model.end("a").await.unwrap();
    chain.end("out").await.unwrap();
}
