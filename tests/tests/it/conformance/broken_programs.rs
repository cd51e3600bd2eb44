//! A program that cannot be read is refused as a whole, in one line that names the place.

use rappel_core::{Value, json};
use rappel_tests::replay::Program;

fn refusal(program: &[u8]) -> String {
    Program::read(program).expect_err("it cannot be read").to_string()
}

#[test]
fn bytes_that_are_no_program_are_refused() {
    let deep = [b'['; 100_000];
    let long = vec![b' '; Program::LONGEST + 1];
    let broken: [(&[u8], &str); 9] = [
        (b"", "program: broken JSON: EOF while parsing a value at line 1 column 0"),
        (b"{\"steps\": [", "program: broken JSON: EOF while parsing a list at line 1 column 11"),
        (b"{} {}", "program: broken JSON: trailing characters at line 1 column 4"),
        (b"{\"\xff\": 1}", "program: broken JSON: invalid unicode code point at line 1 column 3"),
        (b"[1e999]", "program: broken JSON: number out of range at line 1 column 6"),
        (b"\"\\ud800\"", "program: broken JSON: unexpected end of hex escape at line 1 column 8"),
        (&deep, "program: broken JSON: recursion limit exceeded at line 1 column 128"),
        (&long, "program: it is too long"),
        (b"[]", "program: it is not an object"),
    ];
    for (bytes, line) in broken {
        assert_eq!(refusal(bytes), line);
    }
}

#[test]
fn programs_with_a_flaw_outside_their_steps_are_refused() {
    let broken = [
        (json!({}), "program: `handlers` is missing"),
        (json!({"handlers": []}), "program: `steps` is missing"),
        (json!({"handlers": {}, "steps": []}), "program: `handlers` is not of type [anything]"),
        (
            json!({"handlers": [], "steps": [], "manager": null}),
            "program: `manager` is not of type object",
        ),
        (manager(json!({"tags": ["a", 1]})), "program: manager: `tags` is not of type [text]"),
        (manager(json!({"metadata": []})), "program: manager: `metadata` is not of type object"),
        (handler(json!([])), "program: handler 1: it is not an object"),
        (handler(json!({"kind": "sync"})), "program: handler 1: `id` is missing"),
        (handler(json!({"id": "h"})), "program: handler 1: `kind` is missing"),
        (
            handler(json!({"id": "h", "kind": "lazy"})),
            "program: handler 1: `kind` is not of type \"sync\" or \"async\"",
        ),
        (
            handler(json!({"implements": ["on_leap"]})),
            "program: handler 1: `implements` is not of type [method]",
        ),
        (
            handler(json!({"ignore": ["text"]})),
            "program: handler 1: `ignore` is not of type [event group]",
        ),
        (
            handler(json!({"ignore": "llm"})),
            "program: handler 1: `ignore` is not of type [event group]",
        ),
        (
            handler(json!({"id": "h", "kind": "sync", "inherit": 1})),
            "program: handler 1: `inherit` is not of type bool",
        ),
        (
            handler(json!({"id": "h", "kind": "sync", "fail_on": {"on_text": "1"}})),
            "program: handler 1: `fail_on` is not of type {method: count}",
        ),
        (
            handler(json!({"id": "h", "kind": "sync", "fail_on": {"on_leap": 1}})),
            "program: handler 1: `fail_on` is not of type {method: count}",
        ),
    ];
    for (program, line) in broken {
        assert_eq!(refusal(program.to_string().as_bytes()), line, "{program}");
    }
}

fn manager(manager: Value) -> Value {
    json!({"handlers": [], "manager": manager, "steps": []})
}

fn handler(handler: Value) -> Value {
    json!({"handlers": [{"id": "sound", "kind": "async"}, handler], "steps": []})
}

#[test]
fn programs_with_a_flawed_step_are_refused() {
    let broken = [
        (json!("chain_start"), "step 4: it is not an object"),
        (json!({"name": "c"}), "step 4: `op` is missing"),
        (json!({"op": ["token"]}), "step 4: `op` is not of type text"),
        (json!({"op": "on_chain_start"}), "step 4: the op \"on_chain_start\" is unknown"),
        (json!({"op": "a\nb"}), "step 4: the op \"a\\nb\" is unknown"),
        (
            json!({"op": "chain_start", "on": "root", "name": "c", "as": "x"}),
            "step 4: `inputs` is missing",
        ),
        (
            json!({"op": "chain_start", "on": "root", "as": "x", "inputs": {}}),
            "step 4: `name` is missing",
        ),
        (
            json!({"op": "tool_start", "on": "root", "name": "t", "as": "x", "input": {}}),
            "step 4: `input` is not of type text",
        ),
        (json!({"op": "token", "run": "llm", "text": 1}), "step 4: `text` is not of type text"),
        (
            json!({"op": "llm_end", "run": "llm", "texts": [["a"]]}),
            "step 4: `llm_output` is missing",
        ),
        (
            json!({"op": "llm_end", "run": "llm", "texts": ["a"], "llm_output": null}),
            "step 4: `texts` is not of type [[text]] with one list in it",
        ),
        (json!({"op": "chain_error", "run": "chain"}), "step 4: `error` is missing"),
        (
            json!({"op": "retriever_end", "run": "ret", "documents": ["a"]}),
            "step 4: `documents` is not of type [document]",
        ),
        (
            json!({"op": "child", "of": "chain", "as": "x", "tag": null}),
            "step 4: `tag` is not of type text",
        ),
        (
            json!({"op": "custom_event", "on": "root", "as": "x", "name": "n"}),
            "step 4: `data` is missing",
        ),
        (
            json!({"op": "chat_model_start", "on": "root", "name": "c", "as": ["x"], "messages": [[{"role": "tool", "content": ""}]]}),
            "step 4: `messages` is not of type [[message]]",
        ),
    ];
    assert_refused(&broken);
}

#[test]
fn programs_with_an_alias_for_nothing_or_for_something_else_are_refused() {
    let broken = [
        (
            json!({"op": "token", "run": "nobody", "text": ""}),
            "step 4: the alias \"nobody\" is unknown",
        ),
        (
            json!({"op": "token", "run": "chain", "text": ""}),
            "step 4: \"chain\" is not an llm's or a chat model's run",
        ),
        (json!({"op": "text", "run": "llm", "text": ""}), "step 4: \"llm\" is not a chain's run"),
        (
            json!({"op": "tool_end", "run": "ret", "output": ""}),
            "step 4: \"ret\" is not a tool's run",
        ),
        (
            json!({"op": "retriever_error", "run": "root", "error": ""}),
            "step 4: \"root\" is not a retriever's run",
        ),
        (
            json!({"op": "chain_end", "run": "done", "outputs": {}}),
            "step 4: the run \"done\" has ended",
        ),
        (json!({"op": "child", "of": "done", "as": "x"}), "step 4: the run \"done\" has ended"),
        (
            json!({"op": "child", "of": "llm", "as": "x"}),
            "step 4: \"llm\" is not a run that has children",
        ),
        (
            json!({"op": "child", "of": "chain", "as": "root"}),
            "step 4: the alias \"root\" is used twice",
        ),
        (custom_event("chain", "x"), "step 4: \"chain\" is not a manager"),
        (custom_event("root", "done"), "step 4: the alias \"done\" is used twice"),
        (
            llm_start(json!(["x"]), json!(["one", "two"])),
            "step 4: `as` does not fit: aliases 1, prompts 2",
        ),
        (llm_start(json!("x"), json!(["one"])), "step 4: `as` is not of type [text]"),
        (
            llm_start(json!(["x", "x"]), json!(["one", "two"])),
            "step 4: the alias \"x\" is used twice",
        ),
    ];
    assert_refused(&broken);
}

fn custom_event(on: &str, alias: &str) -> Value {
    json!({"op": "custom_event", "on": on, "as": alias, "name": "n", "data": null})
}

fn llm_start(aliases: Value, prompts: Value) -> Value {
    json!({"op": "llm_start", "on": "root", "name": "l", "as": aliases, "prompts": prompts})
}

/// Each flawed step comes after four sound ones.
fn assert_refused(broken: &[(Value, &str)]) {
    for (step, line) in broken {
        let program = json!({"handlers": [], "steps": [
            {"op": "chain_start", "on": "root", "name": "c", "as": "chain", "inputs": {}},
            llm_start(json!(["llm", "done"]), json!(["", ""])),
            {"op": "retriever_start", "on": "root", "name": "r", "as": "ret", "query": ""},
            {"op": "llm_error", "run": "done", "error": ""},
            step,
        ]});
        assert_eq!(refusal(program.to_string().as_bytes()), *line);
    }
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let program = br#"{"handlers": [], "steps": 1, "steps": [{"op": "leap", "op": "child"}]}"#;
    assert_eq!(refusal(program), "step 0: `of` is missing");
}
