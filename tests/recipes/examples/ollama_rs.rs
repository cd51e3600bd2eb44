//! Streams an answer with `ollama-rs`.

use std::error::Error;

use futures::{TryFutureExt, TryStreamExt};
use ollama_rs::Ollama;
use ollama_rs::error::OllamaError;
use ollama_rs::generation::chat::request::ChatMessageRequest;
use ollama_rs::generation::chat::{ChatMessage, ChatMessageResponse};
use rappel_tokio::ToolCallChunk;
use rappel_tokio::prelude::*;

/// Converts a message of ollama-rs to rappel's chunk. `calls` counts the tool calls.
fn chunk(answer: ChatMessageResponse, calls: &mut u32) -> LlmChunk {
    let mut chunk = LlmChunk::new(answer.message.content).with_model_name(answer.model);
    chunk.reasoning = answer.message.thinking.unwrap_or_default().into();
    for call in answer.message.tool_calls {
        let piece = ToolCallChunk::new(*calls, call.function.arguments.to_string());
        chunk.tool_calls.push(piece.with_name(call.function.name));
        *calls += 1;
    }
    let used = answer.final_data;
    chunk.usage = used.map(|used| TokenUsage::new(used.prompt_eval_count, used.eval_count));
    chunk
}

/// Streams the answer to `request`. Handlers get each chunk before it is returned, and then the end
/// or the error.
pub async fn answer(
    ollama: &Ollama,
    request: ChatMessageRequest,
    run: LlmRun,
) -> Result<LlmResult, RunError> {
    // Its stream does not say what went wrong.
    let failed = |()| OllamaError::Other("the stream broke off".to_owned());
    let messages = ollama
        .send_chat_messages_stream(request)
        .map_ok(|messages| messages.map_err(failed))
        .try_flatten_stream();
    // A stream that breaks off has no message that is done.
    let messages = messages.require_last(|message| message.done);
    let mut calls = 0;
    let chunks = messages.map_ok(move |message| chunk(message, &mut calls));
    chunks.with_callbacks(run).try_collect().await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let callbacks =
        CallbackManager::new(Tokio::current()).with_handler(handler_fn(|event, _cx| {
            println!("{event:?}");
            Ok(())
        }));
    let url = std::env::var("OLLAMA_URL").unwrap_or("http://127.0.0.1:11434".to_owned());
    let question = "How is the weather in Bonn?";
    let messages = vec![ChatMessage::user(question.to_owned())];
    let request = ChatMessageRequest::new("qwen3".to_owned(), messages);
    let start = ChatModelStart::new("qwen3", [Message::human(question)]).with_provider("ollama");
    let run = callbacks.on_chat_model_start(start).await?;
    answer(&Ollama::try_new(url)?, request, run).await?;
    Ok(())
}
