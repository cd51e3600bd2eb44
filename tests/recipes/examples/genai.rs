//! Streams an answer with `genai`, from any of its providers.

use std::error::Error;
use std::future::ready;

use futures::{TryFutureExt, TryStreamExt};
use genai::Client;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatOptions, ChatRequest, ChatStreamEvent, StopReason, StreamEnd};
use genai::chat::{Tool, Usage};
use genai::resolver::Endpoint;
use rappel_tokio::prelude::*;
use rappel_tokio::{FinishReason, ToolCallChunk};

/// Converts an event of genai to rappel's chunk. Tool calls are in the last one.
fn chunk(event: ChatStreamEvent) -> Option<LlmChunk> {
    match event {
        ChatStreamEvent::Chunk(text) => Some(LlmChunk::new(text.content)),
        ChatStreamEvent::ReasoningChunk(text) => Some(LlmChunk::from_reasoning(text.content)),
        ChatStreamEvent::End(end) => Some(last_chunk(&end)),
        _ => None,
    }
}

/// The tool calls, the usage, and why the answer ended.
fn last_chunk(end: &StreamEnd) -> LlmChunk {
    let calls = (0..).zip(end.captured_tool_calls().unwrap_or_default()).map(|(index, call)| {
        let arguments = match call.fn_arguments.as_str() {
            // What the model wrote is no JSON.
            Some(text) => text.to_owned(),
            None => call.fn_arguments.to_string(),
        };
        ToolCallChunk::new(index, arguments).with_id(&*call.call_id).with_name(&*call.fn_name)
    });
    let mut chunk = LlmChunk::default().with_tool_calls(calls);
    chunk.finish_reason = end.captured_stop_reason.as_ref().map(|reason| match reason {
        StopReason::Completed(_) | StopReason::StopSequence(_) => FinishReason::Stop,
        StopReason::MaxTokens(_) => FinishReason::Length,
        StopReason::ToolCall(_) => FinishReason::ToolCalls,
        StopReason::ContentFilter(_) => FinishReason::ContentFilter,
        StopReason::Other(reason) => FinishReason::Other(reason.clone()),
    });
    chunk.usage = end.captured_usage.as_ref().map(usage);
    chunk
}

fn usage(used: &Usage) -> TokenUsage {
    let count = |tokens: Option<i32>| tokens.and_then(|tokens| tokens.try_into().ok());
    let all = |tokens| count(tokens).unwrap_or_default();
    let mut usage = TokenUsage::new(all(used.prompt_tokens), all(used.completion_tokens));
    if let Some(details) = &used.prompt_tokens_details {
        usage.cached_tokens = count(details.cached_tokens);
        usage.cache_write_tokens = count(details.cache_creation_tokens);
    }
    if let Some(details) = &used.completion_tokens_details {
        usage.reasoning_tokens = count(details.reasoning_tokens);
    }
    usage
}

/// Streams the answer to `request`. Handlers get each chunk before it is returned, and then the end
/// or the error.
pub async fn answer(
    client: &Client,
    model: &str,
    request: ChatRequest,
    run: LlmRun,
) -> Result<LlmResult, RunError> {
    // Without these, the end of the stream has neither.
    let options = ChatOptions::default().with_capture_usage(true).with_capture_tool_calls(true);
    let answer = client.exec_chat_stream(model, request, Some(&options));
    let events = answer.map_ok(|answer| answer.stream).try_flatten_stream();
    // A stream that breaks off has no end.
    let events = events.require_last(|event| matches!(event, ChatStreamEvent::End(_)));
    let chunks = events.try_filter_map(|event| ready(Ok(chunk(event))));
    chunks.with_callbacks(run).try_collect().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let callbacks =
        CallbackManager::new(Tokio::current()).with_handler(handler_fn(|event, _cx| {
            println!("{event:?}");
            Ok(())
        }));
    let mut client = Client::builder();
    if let Ok(url) = std::env::var("OPENAI_BASE_URL") {
        let endpoint = Endpoint::from_owned(format!("{url}/"));
        client = client.append_provider_config(AdapterKind::OpenAI, endpoint);
    }
    let question = "How is the weather in Bonn?";
    let request = ChatRequest::new(vec![ChatMessage::user(question)])
        .with_tools([Tool::new("weather").with_schema(rappel_tokio::json!({"type": "object"}))]);
    let start = ChatModelStart::new("gpt-4o-mini", [Message::human(question)]);
    let run = callbacks.on_chat_model_start(start).await?;
    answer(&client.build()?, "gpt-4o-mini", request, run).await?;
    Ok(())
}
