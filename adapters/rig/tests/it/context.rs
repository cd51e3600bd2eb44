//! Several agents at once, and the handlers of one request.

use futures_util::future::join_all;
use rappel_core::{CallbackManager, ChainStart, InRun, json};
use rappel_rig::RigHook;
use rappel_tests::openai_server::{Reply, Script, Server};
use rappel_tokio::Tokio;
use rig_agent::{Agent, AgentBuilder};

use crate::scene::{Add, Log, assert_lines, drain, logged, numbers, openai};

/// Adds 1 to the number that the user names, by the tool.
fn adding() -> Server {
    Server::start(Script::made(|request| {
        let messages = request["messages"].as_array().unwrap();
        let number: i64 = messages[0]["content"].as_str().unwrap().parse().unwrap();
        match messages.last().unwrap()["role"].as_str() {
            Some("tool") => Reply::text(&format!("{}", number + 1)),
            _ => Reply::default().call(format!("c{number}"), "add", &numbers(number, 1)),
        }
    }))
    .unwrap()
}

fn trace_of(number: i64, above: &[&str], indent: &str) -> Vec<String> {
    let next = number + 1;
    let lines = [
        format!("agent.on_chain_start agent {{\"input\":\"{number}\"}}"),
        format!("  model.on_chat_model_start Human: {number}"),
        format!("  model.on_llm_new_token #0 add({{\"x\":{number},\"y\":1}})"),
        format!(
            "  model.on_llm_end \"\" add({{\"x\":{number},\"y\":1}}) c{number} tool_calls 1+2 by m"
        ),
        format!("agent.on_agent_action add {{\"x\":{number},\"y\":1}}"),
        format!("  add.on_tool_start {{\"x\":{number},\"y\":1}} c{number}"),
        format!("  add.on_tool_end \"{next}\" c{number}"),
        format!(
            "  model.on_chat_model_start Human: {number} | AI: add({{\"x\":{number},\"y\":1}}) | \
             Tool: {next}"
        ),
        format!("  model.on_llm_new_token \"{next}\""),
        format!("  model.on_llm_end \"{next}\" stop 2+1 by m"),
        format!("agent.on_agent_finish {{\"output\":\"{next}\"}}"),
        format!("agent.on_chain_end {{\"output\":\"{next}\"}}"),
    ];
    let above = above.iter().map(|line| (*line).to_owned());
    above.chain(lines.iter().map(|line| format!("{indent}{line}"))).collect()
}

fn agent(server: &Server, callbacks: &CallbackManager) -> Agent {
    AgentBuilder::new(openai(server)).tool(Add).add_hook(RigHook::new(callbacks)).build()
}

#[tokio::test]
async fn four_runs_of_one_agent_at_once_are_four_whole_traces() {
    let server = adding();
    let (callbacks, log) = logged();
    let agent = agent(&server, &callbacks);
    let streams = (1..=4).map(|n| drain(agent.prompt(n.to_string()).max_turns(3).stream()));
    assert_eq!(join_all(streams).await, [const { None }; 4]);
    assert_four_whole_traces(&callbacks, &log).await;
}

#[tokio::test]
async fn four_agents_at_once_are_four_whole_traces() {
    let server = adding();
    let (callbacks, log) = logged();
    let agents: Vec<_> = (1..=4).map(|n| (n, agent(&server, &callbacks))).collect();
    let streams = agents.iter().map(|(n, a)| drain(a.prompt(n.to_string()).max_turns(3).stream()));
    assert_eq!(join_all(streams).await, [const { None }; 4]);
    assert_four_whole_traces(&callbacks, &log).await;
}

/// The traces of the prompts 1 to 4, each whole and in order.
async fn assert_four_whole_traces(callbacks: &CallbackManager, log: &Log) {
    callbacks.flush().await.unwrap();
    let mut traces = log.traces();
    traces.sort();
    assert_eq!(traces.len(), 4);
    for (number, trace) in (1..).zip(&traces) {
        let expected = trace_of(number, &[], "");
        assert_lines(trace, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_agent_of_the_process_has_the_handlers_of_each_request() {
    let server = adding();
    let agent = agent(&server, &CallbackManager::default());
    let request = async |number: i64| {
        let (callbacks, log) = logged();
        let start = ChainStart::new("request", json!({}));
        let run = callbacks.on_chain_start(start).await.unwrap();
        let prompt = agent.prompt(number.to_string()).max_turns(3);
        assert_eq!(drain(prompt.stream()).in_run(&run).await, None);
        run.end(json!({})).await.unwrap();
        callbacks.flush().await.unwrap();
        log.lines()
    };
    let logs = join_all([request(1), request(2)]).await;
    for (number, log) in (1..).zip(&logs) {
        let mut expected = trace_of(number, &["request.on_chain_start {}"], "  ");
        expected.push("request.on_chain_end {}".to_owned());
        assert_lines(log, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn the_handlers_of_the_process_and_of_the_request_see_one_trace() {
    let server = adding();
    let (process, request) = (Log::default(), Log::default());
    let callbacks = CallbackManager::new(Tokio::current()).with_handler(process.handler());
    let agent = agent(&server, &callbacks);
    let scope = CallbackManager::new(Tokio::current()).with_handler(request.handler());
    let prompt = agent.prompt("1").max_turns(3);
    assert_eq!(drain(prompt.stream()).in_scope(&scope).await, None);
    scope.flush().await.unwrap();
    let expected = trace_of(1, &[], "");
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    process.assert(&expected);
    request.assert(&expected);
}
