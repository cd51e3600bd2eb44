//! Calls in which the server asks the client back.

use rappel_tokio::json;
use rmcp::model::ProtocolVersion;
use rmcp::service::ClientLifecycleMode;

use crate::support::{Scene, call, within};

#[tokio::test]
async fn a_call_of_several_rounds_is_one_run_and_the_answers_are_inside() {
    let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
    let scene = Scene::with(ClientLifecycleMode::Discover { preferred_versions }).await;
    within(scene.client.call_tool(call("asks", json!({"steps": 2})))).await.unwrap();
    let expected = [
        r#"asks: start {"steps":2}"#,
        r#"asks > ask the user: start {}"#,
        r#"asks > ask the user: end "Ferris""#,
        r#"asks: mcp.progress {"message":"step 1","progress":1,"total":100}"#,
        r#"asks: mcp.progress {"message":"step 2","progress":2,"total":100}"#,
        r#"asks: end "{\"name\":{\"action\":\"accept\",\"content\":{\"name\":\"Ferris\"}}}""#,
    ];
    assert_eq!(scene.log.lines(), expected);
}
