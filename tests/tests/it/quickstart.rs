//! The quickstart prints the output of LangChain's page, in the same order, on every runtime. Its
//! errors are clear.

use std::process::Output;

use rappel_tests::openai_server::{JOKE, Script, Server};

use crate::examples::example;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The output after the line about the server, without the names of the threads.
fn page(tokens: &[&str], result: &str) -> String {
    let token = |token: &str| format!("Sync handler being called on thread X: token: {token}\n");
    let mut page = "zzzz....\nHi! I just woke up. Your llm is starting\n".to_owned();
    page.extend([""].iter().chain(tokens).chain(&["", ""]).map(|text| token(text)));
    page.push_str("zzzz....\nHi! I just woke up. Your llm is ending\n");
    page.push_str(result);
    page
}

fn without_thread_names(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        match (line.split_once("on thread "), line.split_once(": token: ")) {
            (Some((before, _)), Some((_, token))) => format!("{before}on thread X: token: {token}"),
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

#[test]
fn prints_the_page_on_every_runtime() {
    let mut command = example("quickstart");
    let result = format!("\n{}\n(4 tokens in the prompt, 14 in the answer)\n", JOKE.concat());
    for runtime in ["tokio", "tokio-current-thread", "async-std", "smol"] {
        let output = command.args(["--runtime", runtime]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = stdout(&output);
        let (server, text) = text.split_once('\n').unwrap();
        assert!(server.contains("asking an embedded server"), "{server}");
        assert_eq!(without_thread_names(text), page(&JOKE, &result), "{runtime}");
        assert!(!text.contains("on thread main:"), "{text}");
        assert_eq!(output.stderr, b"", "{output:?}");
        command = example("quickstart");
    }
}

#[test]
fn takes_the_server_and_the_key_from_the_environment() {
    let server = Server::start(Script::echo().require_key("sk-env")).unwrap();
    let mut command = example("quickstart");
    command.env("OPENAI_BASE_URL", server.base_url()).env("OPENAI_API_KEY", "sk-env");
    let output = command
        .args(["--runtime", "smol", "--prompt", "say this", "--model", "parrot"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let expected =
        page(&["say ", "this"], "\nsay this\n(2 tokens in the prompt, 2 in the answer)\n");
    assert_eq!(without_thread_names(&stdout(&output)), expected);
    assert_eq!(server.requests()[0].body["model"], "parrot");
}

#[test]
fn says_what_went_wrong() {
    let refusing = Server::start(Script::joke().require_key("sk-right")).unwrap();
    let wrong = [
        (
            vec!["--base-url", "http://127.0.0.1:1/v1"],
            "quickstart: could not connect to 127.0.0.1:1: Connection refused",
        ),
        (vec!["--base-url", "ftp://localhost"], "quickstart: unsupported scheme `ftp`"),
        (
            vec!["--base-url", &*refusing.base_url().leak()],
            "quickstart: the server answered 401: Incorrect API key provided",
        ),
    ];
    for (args, message) in wrong {
        let output = example("quickstart").args(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with(message) && stderr.lines().count() == 1, "{stderr}");
    }
}
