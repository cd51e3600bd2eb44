//! `@modelcontextprotocol/server-everything`, a server of another project, over stdio.
//!
//! `scripts/everything` installs it and runs this test.

use std::process::Stdio;

use rappel_rmcp::{CallToolError, CallbackClient, ServeWithCallbacks};
use rappel_tokio::json;
use rappel_tokio::prelude::*;
use rmcp::transport::TokioChildProcess;
use tokio::process::Command;

use crate::support::{Log, call, within};

async fn connect(log: &Log) -> CallbackClient<()> {
    let server = std::env::var_os("RAPPEL_MCP_EVERYTHING").expect("scripts/everything sets it");
    let node = std::env::var_os("RAPPEL_NODE").unwrap_or_else(|| "node".into());
    let mut command = Command::new(node);
    command.arg(server);
    let (transport, _) = TokioChildProcess::builder(command).stderr(Stdio::null()).spawn().unwrap();
    within(().serve_with_callbacks(transport, &log.callbacks())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it needs node and a package of npm: run scripts/everything"]
async fn its_results_errors_and_progress_are_events() {
    let log = Log::default();
    let client = connect(&log).await;
    let tools = client.list_all_tools().await.unwrap();
    assert!(tools.iter().any(|tool| tool.name == "echo"));

    client.call_tool_with_id(call("echo", json!({"message": "hi"})), "call_1").await.unwrap();
    client.call_tool(call("get-structured-content", json!({"location": "Chicago"}))).await.unwrap();
    let long = json!({"duration": 0.3, "steps": 3});
    within(client.call_tool(call("trigger-long-running-operation", long))).await.unwrap();
    let failed = client.call_tool(call("get-sum", json!({"a": "one", "b": 2}))).await.unwrap();
    assert_eq!(failed.is_error, Some(true));
    let image = client.call_tool(call("get-tiny-image", json!({}))).await.unwrap();
    let lines = log.lines();
    println!("{lines:#?}");
    let _ = image;

    let hangs = client.call_tool(call("trigger-long-running-operation", json!({"duration": 600})));
    drop(tokio::time::timeout(std::time::Duration::from_millis(1), hangs).await.unwrap_err());
    client.cancel().await.unwrap();
    let _: Option<CallToolError> = None;
    panic!();
}
