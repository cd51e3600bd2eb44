//! Calls that are dropped, and runs that are closed.

use std::time::Duration;

use rappel_rmcp::CallToolError;
use rappel_tokio::json;
use rappel_tokio::prelude::*;

use crate::support::{Scene, Seen, call, within};

const CANCELLED: [&str; 2] = ["hangs: start {}", "hangs: error cancelled: cancelled"];

#[tokio::test]
async fn a_dropped_call_is_cancelled_and_the_server_is_told() {
    let mut scene = Scene::new().await;
    {
        let call = scene.client.call_tool(call("hangs", json!({})));
        tokio::select! {
            _ = call => panic!("it hangs"),
            seen = within(scene.seen.recv()) => assert_eq!(seen, Some(Seen::Hangs)),
        }
    }
    assert_eq!(scene.next().await, Seen::Cancelled);
    scene.callbacks.flush().await.unwrap();
    assert_eq!(scene.log.lines(), CANCELLED);
}

#[tokio::test]
async fn a_call_whose_parent_ends_is_cancelled_and_the_server_is_told() {
    let mut scene = Scene::new().await;
    let chain = scene.callbacks.group("agent").await.unwrap();
    let call = scene.client.call_tool(call("hangs", json!({}))).in_run(&chain);
    let end = async {
        assert_eq!(within(scene.seen.recv()).await, Some(Seen::Hangs));
        chain.end("done").await.unwrap();
    };
    let (error, ()) = within(async { tokio::join!(call, end) }).await;
    assert!(matches!(error, Err(CallToolError::Run(RunError::Cancelled))), "{error:?}");
    assert_eq!(scene.next().await, Seen::Cancelled);
    let expected = [
        "agent: on_chain_start",
        "agent > hangs: start {}",
        "agent > hangs: error cancelled: cancelled",
        "agent: on_chain_end",
    ];
    assert_eq!(scene.log.lines(), expected);
}

#[tokio::test]
async fn a_shutdown_cancels_calls_and_the_server_is_told() {
    let mut scene = Scene::new().await;
    let call = scene.client.call_tool(call("hangs", json!({})));
    let shutdown = async {
        assert_eq!(within(scene.seen.recv()).await, Some(Seen::Hangs));
        scene.callbacks.shutdown(Duration::ZERO).await.unwrap();
    };
    let (error, ()) = within(async { tokio::join!(call, shutdown) }).await;
    assert!(matches!(error, Err(CallToolError::Run(RunError::Cancelled))), "{error:?}");
    assert_eq!(scene.next().await, Seen::Cancelled);
    assert_eq!(scene.log.lines(), CANCELLED);
}
