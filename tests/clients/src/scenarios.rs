//! What the requests do: an agent's events, without a model.

use std::future::pending;
use std::time::Duration;

use rappel_core::{
    CallbackManager, ChainRun, ChainStart, ChatModelStart, CustomEvent, Generation, LlmChunk,
    LlmResult, LlmRun, Message, Retry, RunError, TokenUsage, ToolCall, ToolCallChunk, ToolRun,
    ToolStart, json,
};

/// Emits the events of the scenario with this name.
pub(crate) async fn play(scenario: String, callbacks: CallbackManager) -> Result<(), RunError> {
    let chain = callbacks.on_chain_start(ChainStart::new("agent", "What is 1 + 2?")).await?;
    match scenario.as_str() {
        "text" => {}
        "reasoning" => {
            let mut run = model(&chain).await?;
            run.on_llm_new_token(LlmChunk::from_reasoning("I ")).await?;
            run.on_llm_new_token(LlmChunk::from_reasoning("add")).await?;
            run.on_llm_new_token("It is 3").await?;
            run.end("It is 3").await?;
            return Ok(chain.end("It is 3").await?);
        }
        "tools" => tools(&chain).await?,
        "metadata" => {
            let progress = CustomEvent::new("progress", json!({ "done": 1 }));
            chain.child().on_custom_event(progress).await?;
            let mut run = model(&chain).await?;
            run.on_llm_new_token("It is").await?;
            let text = Generation::new("It is").with_finish_reason("length");
            let result = LlmResult::new().with_generation(text).with_model_name("m-1");
            run.end(result.with_usage(TokenUsage::new(7, 3))).await?;
            return Ok(chain.end("It is").await?);
        }
        "parallel" => parallel(&chain).await?,
        "page" => {
            let run = model(&chain).await?;
            run.end(calls([ToolCall::new("confirm", "{}").with_id("c1")])).await?;
            return Ok(chain.end("the page runs the tool").await?);
        }
        "abort" => {
            let mut run = model(&chain).await?;
            run.on_llm_new_token("It ").await?;
            return run.until_closed(pending()).await?;
        }
        "cancel" => return open_work(&chain).await.map(drop),
        "hand-over" => {
            let (tool, run) = open_work(&chain).await?;
            run.fail(RunError::HandedOver).await?;
            tool.fail(RunError::HandedOver).await?;
            return Ok(chain.fail(RunError::HandedOver).await?);
        }
        "error" => {
            let open = open_work(&chain).await?;
            drop(open);
            return Ok(chain.fail("bad luck").await?);
        }
        "shutdown" => {
            let open = open_work(&chain).await?;
            let closed = chain.until_closed(pending::<()>());
            // A program's own shutdown is on another task.
            tokio::spawn(async move { callbacks.shutdown(Duration::ZERO).await });
            let closed = closed.await;
            drop(open);
            return closed;
        }
        "lag" => {
            let mut run = model(&chain).await?;
            // In one poll, so that the reader gets nothing of it.
            let mut burst = std::pin::pin!(async {
                for _ in 0..1_000 {
                    run.on_llm_new_token("more").await?;
                }
                Ok::<(), RunError>(())
            });
            std::future::poll_fn(|cx| {
                loop {
                    if let std::task::Poll::Ready(result) = burst.as_mut().poll(cx) {
                        return std::task::Poll::Ready(result);
                    }
                }
            })
            .await?;
        }
        "retry" => retry(&chain).await?,
        name => return Ok(chain.fail(format!("there is no scenario {name:?}")).await?),
    }
    let mut run = model(&chain).await?;
    for token in ["It ", "is ", "3"] {
        run.on_llm_new_token(token).await?;
    }
    run.end("It is 3").await?;
    Ok(chain.end("It is 3").await?)
}

async fn model(chain: &ChainRun) -> Result<LlmRun, RunError> {
    let start = ChatModelStart::new("m", [Message::human("What is 1 + 2?")]);
    Ok(chain.child().on_chat_model_start(start).await?)
}

fn piece(id: &str, arguments: &str) -> LlmChunk {
    let piece = ToolCallChunk::new(0, arguments).with_id(id).with_name("add");
    LlmChunk::new("").with_tool_calls([piece])
}

fn more(arguments: &str) -> LlmChunk {
    LlmChunk::new("").with_tool_calls([ToolCallChunk::new(0, arguments)])
}

fn calls(calls: impl IntoIterator<Item = ToolCall>) -> LlmResult {
    let generation = Generation::new("").with_tool_calls(calls).with_finish_reason("tool_calls");
    LlmResult::new().with_generation(generation)
}

/// A call that is streamed, one that is not and whose tool fails, one whose arguments are not JSON,
/// and a tool that no model announced.
async fn tools(chain: &ChainRun) -> Result<(), RunError> {
    let mut run = model(chain).await?;
    run.on_llm_new_token(piece("c1", r#"{"a":1"#)).await?;
    run.on_llm_new_token(more(r#","b":2}"#)).await?;
    run.end(calls([
        ToolCall::new("add", r#"{"a":1,"b":2}"#).with_id("c1"),
        ToolCall::new("search", r#"{"for":"x"}"#).with_id("c2"),
        ToolCall::new("add", r#"{"a":"#).with_id("c3"),
    ]))
    .await?;
    let child = chain.child();
    let add = child.on_tool_start(ToolStart::new("add", "1 + 2").with_tool_call_id("c1")).await?;
    let search = child.on_tool_start(ToolStart::new("search", "x").with_tool_call_id("c2")).await?;
    search.fail("no such page").await?;
    add.end(json!(3)).await?;
    let clock = child.on_tool_start(ToolStart::new("clock", "now").with_tool_call_id("c4")).await?;
    clock.end("noon").await?;
    Ok(())
}

/// Two models side by side, below chains of one name.
async fn parallel(chain: &ChainRun) -> Result<(), RunError> {
    let one = chain.child().on_chain_start(ChainStart::new("side", "q")).await?;
    let two = chain.child().on_chain_start(ChainStart::new("side", "q")).await?;
    let (mut first, mut second) = (model(&one).await?, model(&two).await?);
    first.on_llm_new_token("one ").await?;
    second.on_llm_new_token("two ").await?;
    first.end("one ").await?;
    second.on_llm_new_token("goes on").await?;
    second.end("two goes on").await?;
    one.end("one ").await?;
    two.end("two goes on").await?;
    Ok(())
}

/// A call that no tool has run, a tool that runs, and a model in the middle of a text and of a call.
async fn open_work(chain: &ChainRun) -> Result<(ToolRun, LlmRun), RunError> {
    let run = model(chain).await?;
    run.end(calls([
        ToolCall::new("add", "{}").with_id("c1"),
        ToolCall::new("search", "{}").with_id("c2"),
    ]))
    .await?;
    let tool = ToolStart::new("search", "{}").with_tool_call_id("c2");
    let tool = chain.child().on_tool_start(tool).await?;
    let mut run = model(chain).await?;
    run.on_llm_new_token("It ").await?;
    run.on_llm_new_token(piece("c3", r#"{"a":"#)).await?;
    Ok((tool, run))
}

/// Attempts that fail in the middle of a text and of a call: in one run, and in two.
async fn retry(chain: &ChainRun) -> Result<(), RunError> {
    let mut run = model(chain).await?;
    run.on_llm_new_token("Let me").await?;
    run.on_llm_new_token(piece("c1", r#"{"a":"#)).await?;
    run.on_retry(Retry::new(1, "connection reset", Duration::ZERO)).await?;
    run.on_llm_new_token(piece("c1", r#"{"a":1"#)).await?;
    run.fail("connection reset").await?;
    let mut run = model(chain).await?;
    run.on_llm_new_token(piece("c1", r#"{"a":1"#)).await?;
    run.on_llm_new_token(more("}")).await?;
    run.end(calls([ToolCall::new("add", r#"{"a":1}"#).with_id("c1")])).await?;
    let tool = ToolStart::new("add", "1").with_tool_call_id("c1");
    let tool = chain.child().on_tool_start(tool).await?;
    tool.end(json!(3)).await?;
    Ok(())
}
