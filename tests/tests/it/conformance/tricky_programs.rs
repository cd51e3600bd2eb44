//! Rules of the format that no case covers.

use rappel_core::{Value, json};
use rappel_tests::on_every_runtime;

use super::log_of;

/// A program's log in short: one line for each step, with its outcome and its entries.
async fn lines(program: Value, rt: &rappel_tests::runtimes::Rt) -> Vec<String> {
    let log = log_of(&program, rt).await;
    let line = |step: &Value| {
        let seen = step["saw"].as_array().unwrap().iter().map(|entry| {
            let word = |field: &str| entry[field].as_str().unwrap();
            format!(
                ", {} {} {}",
                word("handler"),
                word("event").trim_start_matches("on_"),
                word("run")
            )
        });
        step["outcome"].as_str().unwrap().to_owned() + &seen.collect::<String>()
    };
    log.as_array().unwrap().iter().map(line).collect()
}

fn batch(op: &str, aliases: &[&str]) -> Value {
    let (field, prompt) = match op {
        "llm_start" => ("prompts", json!("p")),
        _ => ("messages", json!([{"role": "human", "content": "p"}])),
    };
    let prompts = vec![prompt; aliases.len()];
    json!({"op": op, "on": "root", "name": "model", "as": aliases, field: prompts})
}

fn chain(on: &str, alias: &str) -> Value {
    json!({"op": "chain_start", "on": on, "name": "chain", "as": alias, "inputs": {}})
}

on_every_runtime! {
    /// That is the inline handler's, although it was registered last and failed in the last run.
    async fn of_the_failures_in_a_batch_the_first_handlers_comes_back(rt) {
        let program = json!({
            "handlers": [
                {"id": "plain", "kind": "sync", "raise_error": true, "fail_on": {"on_llm_start": 1}, "implements": ["on_llm_start"]},
                {"id": "inline", "kind": "async", "run_inline": true, "raise_error": true, "fail_on": {"on_llm_start": 3},
                    "implements": ["on_llm_start", "on_llm_new_token"]},
            ],
            "steps": [
                batch("llm_start", &["a", "b", "c"]),
                {"op": "token", "run": "c", "text": ""},
            ],
        });
        assert_eq!(
            lines(program, &rt).await,
            [
                "error: inline failed in on_llm_start, plain llm_start a, plain llm_start b, plain llm_start c, \
                inline llm_start a, inline llm_start b, inline llm_start c",
                "ok, inline llm_new_token c",
            ]
        );
    }

    /// Calls count by prompt. An `on_llm_start` for a chat model counts under its own name.
    async fn calls_are_counted_over_the_whole_program(rt) {
        let program = json!({
            "handlers": [
                {"id": "h", "kind": "async", "raise_error": true, "fail_on": {"on_llm_start": 4, "on_chat_model_start": 1},
                    "implements": ["on_llm_start"]},
            ],
            "steps": [batch("llm_start", &["a", "b"]), batch("chat_model_start", &["c"]), batch("chat_model_start", &["d"]),
                batch("llm_start", &["e"])],
        });
        assert_eq!(
            lines(program, &rt).await,
            [
                "ok, h llm_start a, h llm_start b",
                "ok, h llm_start c",
                "error: h failed in on_llm_start, h llm_start d",
                "ok, h llm_start e",
            ]
        );
    }

    async fn a_chat_models_start_goes_to_the_handlers_that_want_it(rt) {
        let program = json!({
            "handlers": [
                {"id": "deaf to llm", "kind": "sync", "implements": ["on_chat_model_start"], "ignore": ["llm"]},
                {"id": "deaf to chat", "kind": "sync", "ignore": ["chat_model"]},
                {"id": "neither", "kind": "async", "implements": ["on_llm_end"]},
                {"id": "text only", "kind": "async", "run_inline": true, "implements": ["on_llm_start"]},
            ],
            "steps": [batch("chat_model_start", &["a"]), {"op": "token", "run": "a", "text": ""}],
        });
        assert_eq!(
            lines(program, &rt).await,
            [
                "ok, deaf to llm chat_model_start a, text only llm_start a",
                "ok, deaf to chat llm_new_token a",
            ]
        );
    }

    async fn a_start_that_raised_has_a_run_and_an_end_that_raised_has_ended_it(rt) {
        let program = json!({
            "handlers": [
                {"id": "guard", "kind": "sync", "raise_error": true, "fail_on": {"on_chain_start": 1, "on_chain_end": 1}},
                {"id": "other", "kind": "sync"},
            ],
            "steps": [
                chain("root", "a"),
                {"op": "child", "of": "a", "as": "m"},
                {"op": "chain_end", "run": "a", "outputs": {}},
                {"op": "custom_event", "on": "m", "as": "e", "name": "n", "data": 0},
            ],
        });
        assert_eq!(
            lines(program, &rt).await,
            [
                "error: guard failed in on_chain_start, guard chain_start a, other chain_start a",
                "ok",
                "error: guard failed in on_chain_end, guard chain_end a, other chain_end a",
                "ok, guard custom_event e, other custom_event e",
            ]
        );
    }

    /// A local tag is for its level only. A tag that is added again as a local one is not
    /// inherited.
    async fn tags_and_metadata_are_inherited_down_three_levels(rt) {
        let program = json!({
            "handlers": [{"id": "h", "kind": "sync", "implements": ["on_chain_start", "on_custom_event"]}],
            "manager": {
                "inheritable_tags": ["x", "y", "z"], "tags": ["l", "x"],
                "inheritable_metadata": {"k": 1}, "metadata": {"k": 2},
            },
            "steps": [
                chain("root", "a"),
                {"op": "child", "of": "a", "as": "m", "tag": "y"},
                chain("m", "b"),
                {"op": "child", "of": "b", "as": "n"},
                {"op": "custom_event", "on": "n", "as": "e", "name": "n", "data": null},
                chain("n", "c"),
            ],
        });
        let log = log_of(&program, &rt).await;
        let seen = [0, 2, 4, 5].map(|step| &log[step]["saw"][0]);
        assert_eq!(
            seen.map(|entry| entry["tags"].clone()),
            [
                json!(["y", "z", "l", "x"]),
                json!(["z", "y"]),
                json!(["z"]),
                json!(["z"])
            ]
        );
        assert_eq!(
            seen.map(|entry| entry["metadata"].clone()),
            [
                json!({"k": 2}),
                json!({"k": 1}),
                json!({"k": 1}),
                json!({"k": 1})
            ]
        );
        assert_eq!(
            seen.map(|entry| entry["parent"].clone()),
            [json!(null), json!("a"), json!(null), json!("b")]
        );
    }

    async fn values_come_back_as_they_were_given(rt) {
        let odd = json!({"": [null, true, -1, u64::MAX, i64::MIN, 0.1, 1e-7, 5e300, "\u{0}\n\"\\é🎈", {}, [[]]]});
        let documents = json!([{"page_content": "p", "metadata": {"a": odd}}, {"page_content": "", "metadata": {}, "id": "7"}]);
        let program = json!({
            "handlers": [{"id": "h", "kind": "async", "implements": ["on_chain_start", "on_retriever_end", "on_llm_end"]}],
            "steps": [
                {"op": "chain_start", "on": "root", "name": "c", "as": "c", "inputs": odd},
                {"op": "retriever_start", "on": "root", "name": "r", "as": "r", "query": ""},
                {"op": "retriever_end", "run": "r", "documents": documents},
                batch("llm_start", &["l"]),
                {"op": "llm_end", "run": "l", "texts": [["one", "", "two"]], "llm_output": odd},
                batch("chat_model_start", &[]),
            ],
        });
        let log = log_of(&program, &rt).await;
        assert_eq!(log[0]["saw"][0]["inputs"], odd);
        assert_eq!(log[2]["saw"][0]["documents"], documents);
        assert_eq!(log[4]["saw"][0]["texts"], json!([["one", "", "two"]]));
        assert_eq!(log[4]["saw"][0]["llm_output"], odd);
        assert_eq!(log[5], json!({"outcome": "ok", "saw": []}));
    }

    /// Runs that are open at the end are cancelled after the log is closed.
    async fn a_run_that_is_left_open_adds_nothing_to_the_log(rt) {
        let program = json!({
            "handlers": [{"id": "s", "kind": "sync"}, {"id": "a", "kind": "async", "raise_error": true, "fail_on": {"on_llm_error": 1}}],
            "steps": [batch("llm_start", &["x", "y"])],
        });
        assert_eq!(
            lines(program, &rt).await,
            ["ok, s llm_start x, s llm_start y, a llm_start x, a llm_start y"]
        );
    }
}
