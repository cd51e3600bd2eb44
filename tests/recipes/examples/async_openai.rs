//! Streams an answer with `async-openai`. Handlers get its text, its tool calls and its usage.

use std::error::Error;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{CreateChatCompletionRequest, CreateChatCompletionStreamResponse};
use futures::{TryFutureExt, TryStreamExt, stream};
use rappel_tokio::{ToolCallChunk, prelude::*};
use serde_json::json;

/// Converts async-openai's chunk to rappel's: one for each choice, and one for the usage.
fn chunks(answer: CreateChatCompletionStreamResponse) -> Vec<Result<LlmChunk, RunError>> {
    let choices = answer.choices.into_iter().map(|choice| {
        let text = choice.delta.content.unwrap_or_default();
        let mut chunk = LlmChunk::new(text).with_index(choice.index).with_model_name(&answer.model);
        chunk.refusal = choice.delta.refusal.unwrap_or_default().into();
        chunk.finish_reason =
            choice.finish_reason.and_then(|reason| Some(json!(reason).as_str()?.into()));
        for call in choice.delta.tool_calls.into_iter().flatten() {
            let (name, arguments) =
                call.function.map_or((None, None), |function| (function.name, function.arguments));
            let mut piece = ToolCallChunk::new(call.index, arguments.unwrap_or_default());
            (piece.id, piece.name) = (call.id, name);
            chunk.tool_calls.push(piece);
        }
        chunk
    });
    let used = answer.usage.map(|used| (used.prompt_tokens.into(), used.completion_tokens.into()));
    let usage = used.map(|(prompt, completion)| {
        LlmChunk::default().with_usage(TokenUsage::new(prompt, completion))
    });
    choices.chain(usage).map(Ok).collect()
}

/// Streams the answer to `request`. Handlers get each chunk before it is returned, and then the end
/// or the error.
pub async fn answer(
    client: &Client<OpenAIConfig>,
    request: CreateChatCompletionRequest,
    run: LlmRun,
) -> Result<LlmResult, RunError> {
    let chat = client.chat();
    let answers = chat.create_stream(request).try_flatten_stream().map_err(RunError::failed);
    let chunks = answers.map_ok(|answer| stream::iter(chunks(answer))).try_flatten();
    // A stream that breaks off does not say why the answer ended.
    let chunks = chunks.require_last(|chunk| chunk.finish_reason.is_some());
    chunks.with_callbacks(run).try_collect().await
}

struct Printer;

impl CallbackHandler for Printer {
    fn on_llm_new_token(&mut self, token: &LlmNewToken, _cx: &EventContext) -> HandlerResult {
        print!("{}", token.token);
        for call in token.tool_calls() {
            print!("{}({}", call.name.as_deref().unwrap_or_default(), call.arguments);
        }
        Ok(())
    }

    fn on_llm_end(&mut self, end: &LlmEnd, _cx: &EventContext) -> HandlerResult {
        println!("\n{:?}, {:?}", end.result.finish_reason(), end.result.usage);
        Ok(())
    }

    fn on_llm_error(&mut self, error: &LlmError, _cx: &EventContext) -> HandlerResult {
        println!("\n{} after {:?}", error.error, error.partial.text());
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let callbacks = CallbackManager::new(Tokio::current()).with_handler(Printer);
    let request = json!({
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "How is the weather in Bonn?"}],
        "tools": [{"type": "function", "function": {"name": "weather"}}],
        "stream_options": {"include_usage": true},
    });
    let start = ChatModelStart::new("gpt-4o-mini", [Message::human("How is the weather in Bonn?")]);
    let run = callbacks.on_chat_model_start(start).await?;
    let result = answer(&Client::new(), serde_json::from_value(request)?, run).await?;
    println!("{:?}", result.generations[0].tool_calls);
    Ok(())
}
