//! Agents as tools of other agents. Each test has other prompts: without rig's spans a call is found
//! by its prompt.

use futures_util::future::join;
use rappel_core::CallbackManager;
use rappel_rig::RigHook;
use rappel_tests::openai_server::{Reply, Script, Server};
use rig_agent::{Agent, AgentBuilder};
use serde_json::json;

use crate::scene::{assert_lines, drain, logged, openai};

/// The outer agent passes the question on. The inner one, which has instructions, answers it.
fn passing_on(calls: usize) -> Server {
    Server::start(Script::made(move |request| {
        let messages = request["messages"].as_array().unwrap();
        let question = |at: usize| messages[at]["content"].as_str().unwrap().to_owned();
        match (messages[0]["role"].as_str(), messages.last().unwrap()["role"].as_str()) {
            (Some("system" | "developer"), _) => Reply::text(&question(1).to_uppercase()),
            (_, Some("tool")) => Reply::text("done"),
            _ => (1..=calls).fold(Reply::default(), |reply, call| {
                reply.call(format!("c{call}"), "shouter", &json!({"prompt": question(0)}))
            }),
        }
    }))
    .unwrap()
}

fn agents(server: &Server, inner: &CallbackManager, outer: &CallbackManager) -> Agent {
    let inner = AgentBuilder::new(openai(server))
        .name("shouter")
        .preamble("Shout.")
        .add_hook(RigHook::new(inner))
        .build();
    AgentBuilder::new(openai(server))
        .name("outer")
        .dynamic_tool(inner.into_tool().unwrap())
        .add_hook(RigHook::new(outer))
        .build()
}

#[tokio::test]
async fn an_agent_that_is_a_tool_runs_under_the_tool() {
    let server = passing_on(1);
    let (callbacks, log) = logged();
    let agent = agents(&server, &callbacks, &callbacks);
    assert_eq!(drain(agent.prompt("hi").max_turns(3).stream()).await, None);
    callbacks.flush().await.unwrap();
    log.assert(&[
        "outer.on_chain_start agent {\"input\":\"hi\"}",
        "  model.on_chat_model_start Human: hi",
        "  model.on_llm_new_token #0 shouter({\"prompt\":\"hi\"})",
        "  model.on_llm_end \"\" shouter({\"prompt\":\"hi\"}) c1 tool_calls 1+2 by m",
        "outer.on_agent_action shouter {\"prompt\":\"hi\"}",
        "  shouter.on_tool_start {\"prompt\":\"hi\"} c1",
        "    shouter.on_chain_start agent {\"input\":\"hi\"}",
        "      model.on_chat_model_start System: Shout. | Human: hi",
        "      model.on_llm_end \"HI\" stop 1+1 by m",
        "    shouter.on_agent_finish {\"output\":\"HI\"}",
        "    shouter.on_chain_end {\"output\":\"HI\"}",
        "  shouter.on_tool_end \"HI\" c1",
        "  model.on_chat_model_start Human: hi | AI: shouter({\"prompt\":\"hi\"}) | Tool: HI",
        "  model.on_llm_new_token \"done\"",
        "  model.on_llm_end \"done\" stop 2+1 by m",
        "outer.on_agent_finish {\"output\":\"done\"}",
        "outer.on_chain_end {\"output\":\"done\"}",
    ]);
}

#[tokio::test]
async fn a_sub_agent_has_the_handlers_of_who_called_it() {
    let server = passing_on(1);
    let (callbacks, log) = logged();
    let agent = agents(&server, &CallbackManager::default(), &callbacks);
    agent.prompt("hey").max_turns(3).await.unwrap();
    callbacks.flush().await.unwrap();
    log.assert(&[
        "outer.on_chain_start agent {\"input\":\"hey\"}",
        "  model.on_chat_model_start Human: hey",
        "  model.on_llm_end \"\" shouter({\"prompt\":\"hey\"}) c1 tool_calls 1+2 by m",
        "outer.on_agent_action shouter {\"prompt\":\"hey\"}",
        "  shouter.on_tool_start {\"prompt\":\"hey\"} c1",
        "    shouter.on_chain_start agent {\"input\":\"hey\"}",
        "      model.on_chat_model_start System: Shout. | Human: hey",
        "      model.on_llm_end \"HEY\" stop 1+1 by m",
        "    shouter.on_agent_finish {\"output\":\"HEY\"}",
        "    shouter.on_chain_end {\"output\":\"HEY\"}",
        "  shouter.on_tool_end \"HEY\" c1",
        "  model.on_chat_model_start Human: hey | AI: shouter({\"prompt\":\"hey\"}) | Tool: HEY",
        "  model.on_llm_end \"done\" stop 2+1 by m",
        "outer.on_agent_finish {\"output\":\"done\"}",
        "outer.on_chain_end {\"output\":\"done\"}",
    ]);
}

#[tokio::test]
async fn sub_agents_that_run_at_once_are_each_in_the_trace_that_called_them() {
    let server = passing_on(2);
    let (callbacks, log) = logged();
    let agent = agents(&server, &callbacks, &callbacks);
    let ask = |question: &str| agent.prompt(question).max_turns(3).tool_concurrency(2).run();
    let (first, second) = join(ask("one"), ask("two")).await;
    assert!(first.is_ok() && second.is_ok());
    callbacks.flush().await.unwrap();
    let traces = log.trees();
    assert_eq!(traces.len(), 2);
    for (trace, question) in traces.iter().zip(["one", "two"]) {
        let loud = question.to_uppercase();
        let prompt = format!("{{\"prompt\":{question:?}}}");
        let answer = format!("{{\"output\":{loud:?}}}");
        let action = format!("outer.on_agent_action shouter {prompt}");
        let call = |id: &str| {
            [
                format!("  shouter.on_tool_start {prompt} {id}"),
                format!("  shouter.on_tool_end {loud:?} {id}"),
                format!("    shouter.on_chain_start agent {{\"input\":{question:?}}}"),
                format!("    shouter.on_agent_finish {answer}"),
                format!("    shouter.on_chain_end {answer}"),
                format!("      model.on_chat_model_start System: Shout. | Human: {question}"),
                format!("      model.on_llm_end {loud:?} stop 1+1 by m"),
            ]
        };
        let outer = [
            format!("outer.on_chain_start agent {{\"input\":{question:?}}}"),
            action.clone(),
            action,
            "outer.on_agent_finish {\"output\":\"done\"}".to_owned(),
            "outer.on_chain_end {\"output\":\"done\"}".to_owned(),
        ];
        let models = [
            format!("  model.on_chat_model_start Human: {question}"),
            format!(
                "  model.on_llm_end \"\" shouter({prompt}) c1 shouter({prompt}) c2 tool_calls 1+4 by m"
            ),
            format!(
                "  model.on_chat_model_start Human: {question} | AI: shouter({prompt})shouter({prompt}) | Tool: {loud} | Tool: {loud}"
            ),
            "  model.on_llm_end \"done\" stop 3+1 by m".to_owned(),
        ];
        let expected = [&outer[..], &models, &call("c1"), &call("c2")].concat();
        assert_lines(trace, &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
