//! Every field of the events. The other tests assert the main ones of each event.

use std::sync::{Arc, Mutex};

use rappel_core::{
    CallbackManager, Event, EventContext, HandlerResult, Map, Recorder, Value, handler_fn, json,
};
use rappel_rig::RigHook;
use rappel_tests::openai_server::Reply;
use rappel_tokio::Tokio;
use rig_agent::AgentBuilder;

use crate::scene::{Add, drain, numbers, openai, server};

#[tokio::test]
async fn a_streamed_agent_with_a_tool() {
    let server = server([
        Reply::default().reasoning("Add.").call("c1", "add", &numbers(1, 2)),
        Reply::text("It is 3"),
    ]);
    let records = Arc::new(Mutex::new(Vec::new()));
    let (seen, mut recorder) = (records.clone(), Recorder::new("test"));
    let handler = handler_fn(move |event: &Event, cx: &EventContext| -> HandlerResult {
        seen.lock().unwrap().push(json!(recorder.record(event, cx)));
        Ok(())
    });
    let metadata = Map::from_iter([("user".to_owned(), json!(7))]);
    let callbacks = CallbackManager::new(Tokio::current())
        .with_handler(handler)
        .with_inheritable_tags(["request"])
        .with_inheritable_metadata(metadata);
    let agent = AgentBuilder::new(openai(&server))
        .name("calc")
        .preamble("Add.")
        .temperature(0.5)
        .max_tokens(99)
        .tool(Add)
        .add_hook(RigHook::new(&callbacks).with_model("gpt"))
        .build();
    assert_eq!(drain(agent.prompt("1+2?").max_turns(3).stream()).await, None);
    callbacks.flush().await.unwrap();
    let mut records: Vec<Value> = records.lock().unwrap().clone();
    name_the_runs(&mut records);
    let expected = include_str!("fields.jsonl").lines();
    let expected: Vec<Value> = expected.map(|line| line.parse().unwrap()).collect();
    for (record, expected) in records.iter().zip(&expected) {
        assert_eq!(record, expected);
    }
    assert_eq!(records.len(), expected.len());
}

/// Replaces the ids of runs by numbers in the order of their starts, and removes what is different
/// each time: starts and ends have a time.
fn name_the_runs(records: &mut [Value]) {
    let mut runs: Vec<Value> = Vec::new();
    for record in records {
        if !runs.contains(&record["run"]) {
            runs.push(record["run"].clone());
        }
        let number = |id: &mut Value| match runs.iter().position(|run| run == id) {
            Some(number) => *id = json!(number),
            None => assert!(id.is_null(), "{id} has not started"),
        };
        for field in ["run", "parent", "root"] {
            number(&mut record[field]);
        }
        if let Some(parents) = record.get_mut("parents") {
            parents.as_array_mut().unwrap().iter_mut().for_each(number);
        }
        let record = record.as_object_mut().unwrap();
        let time = record.remove("time").unwrap();
        assert_eq!(time.is_number(), record.contains_key("name"), "{record:?}");
        for field in ["v", "source"] {
            record.remove(field);
        }
    }
}
