//! Every code block of the README is an example of this crate, and each example runs.

use std::path::Path;

use rappel_tests::openai_server::{JOKE, Script, Server};

use crate::examples::example;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The Rust code blocks of the README, each with the name of its example.
fn blocks() -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut blocks = Vec::new();
    for part in readme.split("<!-- tests/examples/").skip(1) {
        let (name, rest) = part.split_once(".rs -->\n```rust\n").unwrap();
        let (code, _) = rest.split_once("```").unwrap();
        blocks.push((name.to_owned(), code.to_owned()));
    }
    assert_eq!(readme.matches("```rust").count(), blocks.len(), "a block without an example");
    assert_eq!(readme.matches("```").count(), 2 * blocks.len(), "a block that is not Rust");
    blocks
}

#[test]
fn its_examples_are_the_examples() {
    for (name, code) in blocks() {
        let example =
            std::fs::read_to_string(root().join(format!("tests/examples/{name}.rs"))).unwrap();
        assert_eq!(code, example, "{name}");
    }
}

#[test]
fn its_examples_run() {
    let server = Server::start(Script::joke()).unwrap();
    for (name, _) in blocks() {
        let output = example(&name).env("OPENAI_BASE_URL", server.base_url()).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let joke = format!(
            "{}\nSome(TokenUsage {{ prompt_tokens: 4, completion_tokens: 14,",
            JOKE.concat()
        );
        let expected = match &*name {
            // The run's end does not wait for the traces, so either line may be first.
            "deliveries" if text.starts_with("my-model") => {
                "my-model: Why not? (dropped 0 events)\nthe page: Why not?\n"
            }
            "deliveries" => "the page: Why not?\nmy-model: Why not? (dropped 0 events)\n",
            "test_your_handlers" => "as expected\n",
            "own_client" => "my-model: Why not?\ncancelled after \"Because\"\n",
            "sync_program" => "Why not?\nmy-model: Why not?\n",
            "own_chain" => {
                "deep-thought on_chain_start\n  my-model on_llm_start\n  my-model on_llm_end\ndeep-thought on_chain_end\n"
            }
            _ => &joke,
        };
        assert!(text.starts_with(expected), "{name}: {text}");
    }
}

/// The files of the promises that are not a promise.
const HELPERS: [&str; 3] = ["mod.rs", "stage.rs", "watched.rs"];

/// Each link is a file or a directory, and each promise has a link.
#[test]
fn its_links_lead_somewhere() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let links: Vec<&str> =
        readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    for link in links.iter().filter(|link| !link.contains("://")) {
        assert!(root().join(link).exists(), "{link}");
    }
    let promises = std::fs::read_dir(root().join("tests/tests/it/promises")).unwrap();
    for module in promises
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !HELPERS.contains(&&**name))
    {
        assert!(links.contains(&&*format!("tests/tests/it/promises/{module}")), "{module}");
    }
}
