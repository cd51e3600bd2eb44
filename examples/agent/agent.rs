//! The loop: ask the model, call the tools that it names, ask again with their results.

use futures_util::future::try_join_all;
use rappel::json;
use rappel::prelude::*;

use crate::tools::Tools;

/// The model is asked at most that many times.
const MOST_TURNS: usize = 8;

const INSTRUCTIONS: &str = "Answer the question. Use the calculator for arithmetic, and search the \
                            files for facts. Name the files that you used.";

/// Asks the model until it calls no more tools. The last message of the conversation is the question.
/// The agent is a chain's run. The model's runs and the
/// tools' runs are its children.
///
/// # Errors
/// If the model cannot be asked, if it has not answered after 8 turns, or if a handler stops a run.
/// The error of a tool goes to the model, and is no error of the agent.
///
/// # Cancel safety
/// Dropping the future ends all open runs as cancelled, and closes the model's socket.
pub(crate) async fn answer(
    chat: &dyn ChatModel,
    tools: &Tools,
    conversation: Vec<Message>,
    callbacks: &CallbackManager,
) -> Result<String, RunError> {
    let question = conversation.last().map(|message| message.text().into_owned());
    let start = ChainStart::agent("agent").with_inputs(json!({"input": question}));
    let mut run = callbacks.on_chain_start(start).await?;
    match turns(chat, tools, conversation, &mut run).await {
        Ok(answer) => {
            run.end(json!({"output": answer})).await?;
            Ok(answer)
        }
        Err(error) => {
            run.fail(error.clone()).await?;
            Err(error)
        }
    }
}

async fn turns(
    chat: &dyn ChatModel,
    tools: &Tools,
    conversation: Vec<Message>,
    run: &mut ChainRun,
) -> Result<String, RunError> {
    let mut messages = vec![Message::system(INSTRUCTIONS)];
    messages.extend(conversation);
    for _ in 0..MOST_TURNS {
        let result = chat.invoke_with(messages.clone(), run.child()).await?;
        let generation = result.generations.into_iter().next();
        let generation = generation.ok_or_else(|| RunError::failed("the model sent no answer"))?;
        if generation.tool_calls.is_empty() {
            let outputs = json!({"output": generation.text});
            run.on_agent_finish(AgentFinish::new(outputs, generation.text.clone())).await?;
            return Ok(generation.text);
        }
        for call in &generation.tool_calls {
            let input = call.parse_arguments().unwrap_or_else(|_| call.arguments.clone().into());
            let log = generation.text.clone();
            run.on_agent_action(AgentAction::new(call.name.clone(), input, log)).await?;
        }
        // The tools run side by side.
        let children = run.child();
        let calls = generation.tool_calls.iter().map(|call| tools.call(call, &children));
        let results = try_join_all(calls).await?;
        messages.push(Message::from(generation));
        messages.extend(results);
    }
    Err(RunError::failed(format!("no answer after {MOST_TURNS} turns")))
}
