//! Results and errors.

use rappel_rmcp::{CallToolError, CallbackClient, ServeWithCallbacks};
use rappel_tokio::json;
use rappel_tokio::prelude::*;
use rmcp::model::CallToolRequestParams;
use rmcp::service::{Service, ServiceError};
use rmcp::{RoleClient, ServiceExt};

use crate::support::{Log, Scene, call, serve, within};

#[tokio::test]
async fn a_result_ends_the_run() {
    let scene = Scene::new().await;
    let result = scene.client.call_tool(call("echo", json!({"text": "hi"}))).await.unwrap();
    assert_eq!(json!(result.content), json!([{"type": "text", "text": "hi"}]));
    scene.client.call_tool_with_id(call("lines", json!({})), "call_1").await.unwrap();
    scene.client.call_tool(CallToolRequestParams::new("structured")).await.unwrap();
    scene.client.call_tool(CallToolRequestParams::new("image")).await.unwrap();
    let expected = [
        r#"echo: start {"text":"hi"}"#,
        r#"echo: end "hi""#,
        r#"lines: start {} for call_1"#,
        r#"lines: end "first\nsecond" for call_1"#,
        r#"structured: start {}"#,
        r#"structured: end {"sum":3}"#,
        r#"image: start {}"#,
        concat!(
            r#"image: end [{"text":"a picture:","type":"text"},"#,
            r#"{"data":"AAAA","mimeType":"image/png","type":"image"}]"#
        ),
    ];
    assert_eq!(scene.log.lines(), expected);
}

#[tokio::test]
async fn a_result_that_is_an_error_fails_the_run_and_is_returned() {
    let scene = Scene::new().await;
    let result = scene.client.call_tool_with_id(call("fails", json!({})), "call_1").await.unwrap();
    assert_eq!(result.is_error, Some(true));
    let expected =
        ["fails: start {} for call_1", "fails: error tool_error: no such city for call_1"];
    assert_eq!(scene.log.lines(), expected);
}

#[tokio::test]
async fn an_error_without_content_has_a_message() {
    let scene = Scene::new().await;
    scene.client.call_tool(call("fails silently", json!({}))).await.unwrap();
    let error = "fails silently: error tool_error: the tool failed without a text";
    assert_eq!(scene.log.lines(), ["fails silently: start {}", error]);
}

#[tokio::test]
async fn an_error_of_the_protocol_fails_the_run() {
    let scene = Scene::new().await;
    let error = scene.client.call_tool(CallToolRequestParams::new("unheard-of")).await.unwrap_err();
    let CallToolError::Service(ServiceError::McpError(error)) = error else { panic!("{error:?}") };
    assert_eq!((error.code.0, &*error.message), (-32602, "no tool unheard-of"));
    let expected =
        ["unheard-of: start {}", "unheard-of: error -32602: Mcp error: -32602: no tool unheard-of"];
    assert_eq!(scene.log.lines(), expected);
}

#[tokio::test]
async fn a_connection_that_is_closed_fails_the_run() {
    let mut scene = Scene::new().await;
    scene.client.close().await.unwrap();
    let error = scene.client.call_tool(call("echo", json!({"text": "hi"}))).await.unwrap_err();
    assert!(matches!(error, CallToolError::Service(ServiceError::TransportClosed)), "{error:?}");
    let expected = [r#"echo: start {"text":"hi"}"#, "echo: error connection: Transport closed"];
    assert_eq!(scene.log.lines(), expected);
}

#[tokio::test]
async fn calls_are_children_of_the_current_run() {
    let scene = Scene::new().await;
    let chain = scene.callbacks.group("agent").await.unwrap();
    let (one, two) = async {
        tokio::join!(
            scene.client.call_tool(call("echo", json!({"text": "1"}))),
            scene.client.call_tool(call("lines", json!({}))),
        )
    }
    .in_run(&chain)
    .await;
    one.unwrap();
    two.unwrap();
    chain.end("done").await.unwrap();
    let expected = [
        r#"agent > echo: start {"text":"1"}"#,
        r#"agent > echo: end "1""#,
        r#"agent > lines: start {}"#,
        r#"agent > lines: end "first\nsecond""#,
        "agent: on_chain_start",
        "agent: on_chain_end",
    ];
    assert_eq!(scene.log.sorted_runs(), expected);
    // The chain is around them.
    let lines = scene.log.lines();
    assert_eq!((&*lines[0], &*lines[5]), (expected[4], expected[5]));
}

#[tokio::test]
async fn handlers_of_the_current_run_get_the_calls_of_a_client_that_has_others() {
    let scene = Scene::new().await;
    let other = Log::default();
    let chain = other.callbacks().group("agent").await.unwrap();
    let params = call("echo", json!({"text": "hi"}));
    scene.client.call_tool(params).in_run(&chain).await.unwrap();
    let expected = [r#"echo: start {"text":"hi"}"#, r#"echo: end "hi""#];
    assert_eq!(scene.log.lines(), expected);
    let expected = [
        "agent: on_chain_start".to_owned(),
        format!("agent > {}", expected[0]),
        format!("agent > {}", expected[1]),
        "agent: on_chain_end".to_owned(),
    ];
    chain.end("done").await.unwrap();
    assert_eq!(other.lines(), expected);
}

#[tokio::test]
async fn a_client_that_is_connected_already_has_runs_without_progress() {
    let (client, _seen) = serve();
    let log = Log::default();
    let client = CallbackClient::new(().serve(client).await.unwrap(), log.callbacks());
    within(client.call_tool(call("progress", json!({"steps": 2})))).await.unwrap();
    within(client.call_tool(call("meta", json!({})))).await.unwrap();
    let expected = [
        r#"progress: start {"steps":2}"#,
        r#"progress: end "done""#,
        r#"meta: start {}"#,
        r#"meta: end "{}""#,
    ];
    assert_eq!(log.lines(), expected);
}

/// Also for a client that is a type parameter.
async fn spawned(service: impl Service<RoleClient>, log: Log) {
    let (client, _seen) = serve();
    let callbacks = log.callbacks();
    let task = tokio::spawn(async move {
        let client = service.serve_with_callbacks(client, &callbacks).await.unwrap();
        client.call_tool(call("echo", json!({"text": "hi"}))).await.unwrap();
    });
    within(task).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_and_calls_go_into_other_tasks() {
    let log = Log::default();
    spawned((), log.clone()).await;
    assert_eq!(log.lines(), [r#"echo: start {"text":"hi"}"#, r#"echo: end "hi""#]);
}
