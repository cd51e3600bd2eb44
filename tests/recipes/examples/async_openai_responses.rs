//! Streams an answer of the Responses API with `async-openai`.

use std::error::Error;
use std::future::ready;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::responses::{CreateResponse, OutputItem, Response, ResponseStreamEvent};
use futures::{TryFutureExt, TryStreamExt};
use rappel_tokio::prelude::*;
use rappel_tokio::{FinishReason, ToolCallChunk};
use serde_json::json;

/// Converts an event of async-openai to rappel's chunk. Most events have none. `calls` has the
/// positions of the tool calls among the items of the answer.
fn chunk(event: ResponseStreamEvent, calls: &mut Vec<u32>) -> Result<Option<LlmChunk>, RunError> {
    use ResponseStreamEvent as Event;
    Ok(Some(match event {
        Event::ResponseOutputTextDelta(text) => LlmChunk::new(text.delta),
        Event::ResponseReasoningSummaryTextDelta(text) => LlmChunk::from_reasoning(text.delta),
        Event::ResponseRefusalDelta(text) => LlmChunk::from_refusal(text.delta),
        Event::ResponseOutputItemAdded(added) => {
            let OutputItem::FunctionCall(call) = added.item else { return Ok(None) };
            calls.push(added.output_index);
            let piece = ToolCallChunk::new(calls.len() as u32 - 1, call.arguments);
            LlmChunk::default().with_tool_calls([piece.with_id(call.call_id).with_name(call.name)])
        }
        Event::ResponseFunctionCallArgumentsDelta(piece) => {
            let call = calls.iter().position(|position| *position == piece.output_index);
            let call = call.ok_or_else(|| RunError::failed("arguments of an unknown tool call"))?;
            LlmChunk::default().with_tool_calls([ToolCallChunk::new(call as u32, piece.delta)])
        }
        Event::ResponseCompleted(end) => last_chunk(end.response),
        Event::ResponseIncomplete(end) => last_chunk(end.response),
        Event::ResponseFailed(end) => {
            let reason = end.response.error.map_or("no reason".to_owned(), |error| error.message);
            return Err(RunError::failed(reason));
        }
        Event::ResponseError(error) => return Err(RunError::failed(error.message)),
        _ => return Ok(None),
    }))
}

/// The usage, and why the answer ended.
fn last_chunk(response: Response) -> LlmChunk {
    let calls = response.output.iter().any(|item| matches!(item, OutputItem::FunctionCall(_)));
    let reason = match response.incomplete_details {
        Some(details) if details.reason == "max_output_tokens" => FinishReason::Length,
        Some(details) => details.reason.into(),
        None if calls => FinishReason::ToolCalls,
        None => FinishReason::Stop,
    };
    let mut chunk = LlmChunk::default().with_finish_reason(reason).with_model_name(response.model);
    chunk.usage = response.usage.map(|used| {
        TokenUsage::new(used.input_tokens.into(), used.output_tokens.into())
            .with_cached_tokens(used.input_tokens_details.cached_tokens.into())
            .with_reasoning_tokens(used.output_tokens_details.reasoning_tokens.into())
    });
    chunk.response_id = Some(response.id);
    chunk
}

/// Streams the answer to `request`. Handlers get each chunk before it is returned, and then the end
/// or the error.
pub async fn answer(
    client: &Client<OpenAIConfig>,
    request: CreateResponse,
    run: LlmRun,
) -> Result<LlmResult, RunError> {
    let responses = client.responses();
    let events = responses.create_stream(request).try_flatten_stream().map_err(RunError::failed);
    let mut calls = Vec::new();
    let chunks = events.try_filter_map(move |event| ready(chunk(event, &mut calls)));
    // A stream that breaks off does not say why the answer ended.
    let chunks = chunks.require_last(|chunk| chunk.finish_reason.is_some());
    chunks.with_callbacks(run).try_collect().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let callbacks =
        CallbackManager::new(Tokio::current()).with_handler(handler_fn(|event, _cx| {
            println!("{event:?}");
            Ok(())
        }));
    let request = json!({
        "model": "gpt-4o-mini",
        "input": "How is the weather in Bonn?",
        "tools": [{"type": "function", "name": "weather", "parameters": {}, "strict": false}],
    });
    let start = ChatModelStart::new("gpt-4o-mini", [Message::human("How is the weather in Bonn?")]);
    let run = callbacks.on_chat_model_start(start).await?;
    answer(&Client::new(), serde_json::from_value(request)?, run).await?;
    Ok(())
}
