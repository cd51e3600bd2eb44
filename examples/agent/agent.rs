//! The loop: ask the model, call the tools that it names, ask again with their results.

use futures_util::future::try_join_all;
use rappel::json;
use rappel::prelude::*;

use crate::tools::Tools;

/// The model is asked at most that many times.
const MOST_TURNS: usize = 8;

const INSTRUCTIONS: &str = "Answer the question. Use the calculator for arithmetic, and search the \
                            files for facts. Name the files that you used.";

/// Asks the model until it calls no more tools. The agent is a chain's run. The model's runs and the
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
    question: &str,
    callbacks: &CallbackManager,
) -> Result<String, RunError> {
    let start = ChainStart::agent("agent").with_inputs(json!({"input": question}));
    let mut run = callbacks.on_chain_start(start).await?;
    match turns(chat, tools, question, &mut run).await {
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
    question: &str,
    run: &mut ChainRun,
) -> Result<String, RunError> {
    let mut messages = vec![Message::system(INSTRUCTIONS), Message::human(question)];
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should say where")]
mod tests {
    use std::fs;

    use rappel::handlers::Collector;
    use rappel::{RunKind, Value};
    use rappel_tests::openai_server::{Fault, Reply, Script, Server};

    use super::*;
    use crate::scripted_model;

    async fn ask(script: Script, question: &str) -> (Result<String, RunError>, Vec<String>) {
        let files = tempfile::tempdir().unwrap();
        fs::write(files.path().join("birds.md"), "# Birds\n\nThe heron eats fish.\n").unwrap();
        let server = Server::start(script).unwrap();
        let collector = Collector::new(1);
        let callbacks = CallbackManager::new(Tokio::current()).with(collector.clone());
        let chat = ChatOpenAi::builder()
            .model("m")
            .base_url(server.base_url())
            .api_key("k")
            .max_retries(0)
            .streaming(true)
            .tools(Tools::list())
            .build()
            .unwrap();
        let tools = Tools::new(files.path());
        let answer = answer(&chat, &tools, question, &callbacks).await;
        callbacks.flush().await.unwrap();
        let trace = collector.traces().pop().unwrap();
        let line = |run: &rappel::handlers::CollectedRun| {
            let parent =
                trace.runs().iter().find(|one| Some(one.info().id()) == run.info().parent_id());
            let outcome = match (run.error(), run.end()) {
                (Some(error), _) => format!("{error}"),
                (None, Some(_)) => "ok".to_owned(),
                (None, None) => "open".to_owned(),
            };
            let kind = run.info().kind();
            let kind =
                if kind == RunKind::ChatModel { "model".to_owned() } else { run.name().to_owned() };
            format!("{}/{kind}: {outcome}", parent.map_or("", |parent| parent.name()))
        };
        (answer, trace.runs().iter().map(line).collect())
    }

    #[tokio::test]
    async fn tools_are_called_and_their_results_reach_the_model() {
        let script = Script::made(scripted_model::reply);
        let (answer, mut runs) = ask(script, "What is 6 * 7, and what does the heron eat?").await;
        let answer = answer.unwrap();
        assert!(answer.contains("42") && answer.contains("The heron eats fish."), "{answer}");
        runs.sort();
        assert_eq!(
            runs,
            [
                "/agent: ok",
                "agent/calculator: ok",
                "agent/model: ok",
                "agent/model: ok",
                "agent/search_files: ok",
                "search_files/files: ok",
            ]
        );
    }

    #[tokio::test]
    async fn the_error_of_a_tool_goes_to_the_model() {
        let script = Script::made(|request| {
            let last = &request["messages"].as_array().unwrap().last().unwrap();
            match last["role"].as_str() {
                Some("tool") => Reply::text(last["content"].as_str().unwrap()),
                _ => Reply::default().call("c", "calculator", &json!({"expression": "6 *"})),
            }
        });
        let (answer, runs) = ask(script, "6 *").await;
        assert!(answer.unwrap().starts_with("error: "));
        assert!(runs.iter().any(|run| run.starts_with("agent/calculator: ")), "{runs:?}");
        assert!(!runs.contains(&"agent/calculator: ok".to_owned()), "{runs:?}");
        assert!(runs.contains(&"/agent: ok".to_owned()), "{runs:?}");
    }

    #[tokio::test]
    async fn a_model_that_calls_tools_forever_is_an_error_after_8_turns() {
        let expression = json!({"expression": "1 + 1"});
        let script = Script::made(move |_| Reply::default().call("c", "calculator", &expression));
        let (answer, runs) = ask(script, "1 + 1").await;
        assert_eq!(answer.unwrap_err().to_string(), "no answer after 8 turns");
        assert_eq!(runs.iter().filter(|run| *run == "agent/model: ok").count(), MOST_TURNS);
    }

    #[tokio::test]
    async fn a_server_that_refuses_ends_the_model_and_the_agent_with_its_error() {
        let refusal: Value = json!({"error": {"message": "no credit left"}});
        let script = Script::joke().fault(Fault::Status(402, refusal.to_string()));
        let (answer, runs) = ask(script, "Why?").await;
        assert!(answer.unwrap_err().to_string().contains("no credit left"));
        assert_eq!(runs.len(), 2, "{runs:?}");
        assert!(runs.iter().all(|run| run.contains("no credit left")), "{runs:?}");
    }
}
