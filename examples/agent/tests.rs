//! The agent with a server that answers by a script.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use std::fs;

use rappel::handlers::Collector;
use rappel::prelude::*;
use rappel::{RunKind, Value, json};
use rappel_tests::openai_server::{Fault, Reply, Script, Server};

use crate::agent::answer;
use crate::scripted_model;
use crate::tools::Tools;

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
    let answer = answer(&chat, &tools, vec![Message::human(question)], &callbacks).await;
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
    assert_eq!(runs.iter().filter(|run| *run == "agent/model: ok").count(), 8);
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
