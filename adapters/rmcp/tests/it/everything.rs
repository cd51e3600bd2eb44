//! `@modelcontextprotocol/server-everything`, a server of another project, over stdio.
//!
//! `scripts/everything` installs it and runs this test.

use std::process::Stdio;
use std::sync::Arc;

use rappel_rmcp::{CallbackClient, ServeWithCallbacks};
use rappel_tokio::json;
use rappel_tokio::prelude::*;
use rmcp::transport::TokioChildProcess;
use tokio::process::Command;
use tokio::sync::Notify;

use crate::support::{Log, call, within};

/// Starts the server. The notification is of each progress event.
async fn connect() -> (CallbackClient<()>, CallbackManager, Log, Arc<Notify>) {
    let server = std::env::var_os("RAPPEL_MCP_EVERYTHING").expect("scripts/everything sets it");
    let mut command = Command::new("node");
    command.arg(server);
    let (transport, _) = TokioChildProcess::builder(command).stderr(Stdio::null()).spawn().unwrap();
    let (log, progress) = (Log::default(), Arc::new(Notify::new()));
    let notify = progress.clone();
    let callbacks =
        log.callbacks().with_async_handler(async_handler_fn(async move |event, _cx| {
            if let Event::CustomEvent(_) = event {
                notify.notify_one();
            }
            Ok(())
        }));
    let client = within(().serve_with_callbacks(transport, &callbacks)).await.unwrap();
    (client, callbacks, log, progress)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs node and a package of npm: run scripts/everything"]
async fn its_results_errors_and_progress_are_events() {
    let (client, _callbacks, log, _) = connect().await;
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "echo"));

    client.call_tool_with_id(call("echo", json!({"message": "hi"})), "call_1").await.unwrap();
    client.call_tool(call("get-structured-content", json!({"location": "Chicago"}))).await.unwrap();
    let long = json!({"duration": 0.3, "steps": 3});
    within(client.call_tool(call("trigger-long-running-operation", long))).await.unwrap();
    let failed = client.call_tool(call("get-sum", json!({"a": "one", "b": 2}))).await.unwrap();
    assert_eq!(failed.is_error, Some(true));
    client.call_tool(call("no-such-tool", json!({}))).await.unwrap();
    let image = client.call_tool(call("get-tiny-image", json!({}))).await.unwrap();
    client.cancel().await.unwrap();

    let long = "trigger-long-running-operation";
    let error = "error tool_error: MCP error -32602:";
    let expected = [
        r#"echo: start {"message":"hi"} for call_1"#.to_owned(),
        r#"echo: end "Echo: hi" for call_1"#.to_owned(),
        r#"get-structured-content: start {"location":"Chicago"}"#.to_owned(),
        format!(
            "get-structured-content: end {}",
            json!({"temperature": 36, "conditions": "Light rain / drizzle", "humidity": 82})
        ),
        format!(r#"{long}: start {{"duration":0.3,"steps":3}}"#),
        format!(r#"{long}: mcp.progress {{"progress":1,"total":3}}"#),
        format!(r#"{long}: mcp.progress {{"progress":2,"total":3}}"#),
        format!(r#"{long}: mcp.progress {{"progress":3,"total":3}}"#),
        format!(
            r#"{long}: end "Long running operation completed. Duration: 0.3 seconds, Steps: 3.""#
        ),
        r#"get-sum: start {"a":"one","b":2}"#.to_owned(),
        format!(
            "get-sum: {error} Input validation error: Invalid arguments for tool get-sum: \
             Invalid input: expected number, received string at a"
        ),
        "no-such-tool: start {}".to_owned(),
        format!("no-such-tool: {error} Tool no-such-tool not found"),
        "get-tiny-image: start {}".to_owned(),
        format!("get-tiny-image: end {}", json!(image.content)),
    ];
    assert_eq!(log.lines(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs node and a package of npm: run scripts/everything"]
async fn a_dropped_call_is_cancelled_and_the_server_goes_on() {
    let (client, callbacks, log, progress) = connect().await;
    let long = json!({"duration": 600, "steps": 60_000});
    tokio::select! {
        _ = client.call_tool(call("trigger-long-running-operation", long)) => panic!("it has ended"),
        () = within(progress.notified()) => {}
    }
    callbacks.flush().await.unwrap();
    within(client.call_tool(call("echo", json!({"message": "hi"})))).await.unwrap();
    client.cancel().await.unwrap();
    let lines = log.lines();
    // Between the first progress and the drop there may be more of it.
    let seen = lines.iter().filter(|line| line.contains("mcp.progress")).count();
    let long = "trigger-long-running-operation";
    let progress = |step| format!(r#"{long}: mcp.progress {{"progress":{step},"total":60000}}"#);
    let mut expected = vec![format!(r#"{long}: start {{"duration":600,"steps":60000}}"#)];
    expected.extend((1..=seen.max(1)).map(progress));
    expected.push(format!("{long}: error cancelled: cancelled"));
    expected.push(r#"echo: start {"message":"hi"}"#.to_owned());
    expected.push(r#"echo: end "Echo: hi""#.to_owned());
    assert_eq!(lines, expected);
}
