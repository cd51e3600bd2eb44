//! An agent's trace, sent to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names.
//!
//! cargo run -p rappel-opentelemetry --example agent_trace
//!
//! With Phoenix on this machine: `OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:6006`. The answers of
//! the model and of the tool are made up.

use std::time::Duration;

use rappel_core::{Generation, Map, ToolCall, Value, json};
use rappel_opentelemetry::{Settings, otlp};
use rappel_smol::prelude::*;

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

async fn pause(millis: u64) {
    smol::Timer::after(Duration::from_millis(millis)).await;
}

/// A call of the model that answers `answer`.
async fn ask(
    callbacks: &CallbackManager,
    messages: Vec<Message>,
    answer: Generation,
    usage: TokenUsage,
) -> Result<(), EmitError> {
    let params = json!({
        "model": "gpt-4o-mini", "temperature": 0.2, "stream": true,
        "tools": [{"type": "function", "function": {
            "name": "weather", "description": "Tells the weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        }}],
    });
    let start = ChatModelStart::new("ChatOpenAi", messages)
        .with_invocation_params(object(params))
        .with_provider("openai")
        .with_server("api.openai.com", 443);
    let mut model = callbacks.on_chat_model_start(start).await?;
    pause(30).await;
    for word in answer.text.split_inclusive(' ') {
        model.on_llm_new_token(word).await?;
        pause(5).await;
    }
    let result = LlmResult::new().with_generation(answer).with_usage(usage);
    model.end(result.with_model_name("gpt-4o-mini-2024-07-18")).await
}

async fn agent(callbacks: &CallbackManager) -> Result<(), EmitError> {
    let question = "What should I wear in Nîmes today?";
    let start = ChainStart::agent("dresser").with_inputs(question);
    let agent = callbacks.on_chain_start(start).await?;
    let inside = agent.child();

    let retriever = inside.on_retriever_start(RetrieverStart::new("wardrobe", question)).await?;
    pause(8).await;
    let coat = Document::new("A coat of wool, for the cold").with_id("coat").with_score(0.71);
    let shirt = Document::new("A shirt of linen, for the heat").with_id("shirt").with_score(0.64);
    retriever.end(vec![coat, shirt]).await?;

    let mut messages =
        vec![Message::system("You know clothes. Be brief."), Message::human(question)];
    let call = ToolCall::new("weather", r#"{"city":"Nîmes"}"#).with_id("call-1");
    let answer =
        Generation::new("").with_tool_calls([call.clone()]).with_finish_reason("tool_calls");
    ask(&inside, messages.clone(), answer, TokenUsage::new(96, 17).with_cached_tokens(64)).await?;

    let weather = || {
        let start = ToolStart::new("weather", "Nîmes").with_inputs(json!({ "city": "Nîmes" }));
        start.with_tool_call_id("call-1").with_description("Tells the weather of a city")
    };
    let tool = inside.on_tool_start(weather()).await?;
    pause(12).await;
    tool.fail(RunError::failed("the station does not answer").with_type("timeout")).await?;
    let tool = inside.on_tool_start(weather()).await?;
    pause(10).await;
    tool.end(json!({ "sky": "sunny", "celsius": 31 })).await?;

    messages.push(Message::ai("").with_tool_calls([call]));
    messages.push(Message::tool("call-1", r#"{"sky":"sunny","celsius":31}"#));
    let text = "It is sunny and 31 degrees: wear the shirt of linen.";
    let answer = Generation::new(text).with_finish_reason("stop");
    let usage = TokenUsage::new(151, 14).with_cached_tokens(96).with_reasoning_tokens(0);
    ask(&inside, messages, answer, usage).await?;
    agent.end(text).await
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let telemetry = otlp()
        .service_name("agent")
        .project("agent")
        .settings(Settings::from_env().content(true))
        .build()?;
    let metadata = object(json!({ "session_id": "session-1", "user_id": "ada" }));
    let callbacks = telemetry
        .register(CallbackManager::new(Smol::global()))
        .with_inheritable_metadata(metadata)
        .with_inheritable_tags(["example"]);
    smol::block_on(async {
        agent(&callbacks).await?;
        let report = callbacks.shutdown(Duration::from_secs(10)).await?;
        println!("{}", telemetry.counts());
        report.unfinished.iter().for_each(|work| eprintln!("{work}"));
        Ok(())
    })
}
