//! The README's programs are examples, they run as a newcomer runs them, and its links lead
//! somewhere. So do the programs in `tests/examples`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rappel_tests::openai_server::{JOKE, Script, Server};

use crate::examples::{example, example_of};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The README's blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let (readme, fence) = (readme(), format!("```{language}\n"));
    readme.split(&fence).skip(1).map(|part| part.split_once("```").unwrap().0.to_owned()).collect()
}

fn assert_joke(text: &str, who: &str) {
    let usage = "Some(TokenUsage { prompt_tokens: 4, completion_tokens: 14,";
    assert!(text.starts_with(&format!("{}\n{usage}", JOKE.concat())), "{who}: {text}");
}

#[test]
fn its_programs_are_examples() {
    let examples = ["rappel/examples/first.rs", "examples/axum_sse/main.rs"];
    let programs = examples.map(|path| fs::read_to_string(root().join(path)).unwrap());
    assert_eq!(blocks("rust"), programs);
    for path in examples {
        assert!(readme().contains(&format!("<!-- {path} -->\n```rust\n")), "{path}");
    }
    let of_crate = fs::read_to_string(root().join("rappel/README.md")).unwrap();
    assert!(of_crate.contains(&programs[0]));
}

/// In a new project outside of the workspace, with the lines and the program that it shows.
#[test]
fn its_first_program_runs_in_a_new_project() {
    let server = Server::start(Script::joke()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let project = place.path().join("joke");
    fs::create_dir_all(project.join("src")).unwrap();
    // The lines have a clone beside the project.
    std::os::unix::fs::symlink(root(), place.path().join("rappel")).unwrap();
    let package = "[package]\nname = \"joke\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n";
    fs::write(project.join("Cargo.toml"), format!("{package}{}", blocks("toml")[0])).unwrap();
    fs::write(project.join("src/main.rs"), &blocks("rust")[0]).unwrap();
    // The versions that are here.
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "-q", "--offline"])
        .current_dir(&project)
        .env("CARGO_TARGET_DIR", root().join("target/new_project"))
        .env("OPENAI_BASE_URL", server.base_url())
        .env_remove("OPENAI_API_KEY")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_joke(&String::from_utf8(output.stdout).unwrap(), "a new project");
}

/// A process that is stopped with the test.
struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks a service of the examples, and returns its response and its output from then on.
fn asked(example: &str) -> (String, Stopped, impl Iterator<Item = String>) {
    let server = Server::start(Script::joke()).unwrap();
    let mut service = example_of("rappel-examples", example);
    let service = service
        .env("OPENAI_BASE_URL", server.base_url())
        .env("RAPPEL_PORT", "0")
        .stdout(Stdio::piped())
        .spawn();
    let mut service = Stopped(service.unwrap());
    let lines = BufReader::new(service.0.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let url = lines.next().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    let question = "Tell me a joke";
    let head = format!("POST / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    write!(socket, "{head}content-length: {}\r\n\r\n{question}", question.len()).unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    (response, service, lines)
}

#[test]
fn its_service_streams_an_answer_and_says_how_the_request_ended() {
    let (response, _service, mut said) = asked("axum_sse");
    assert!(response.contains("text/event-stream"), "{response}");
    assert!(response.contains("data: \"Why\""), "{response}");
    let said = said.next().unwrap();
    assert!(said.starts_with("answered: Some(TokenUsage { prompt_tokens: 4,"), "{said}");
}

#[test]
fn the_service_on_smol_streams_an_answer() {
    let (response, ..) = asked("smol_sse");
    assert!(response.contains("text/event-stream"), "{response}");
    assert!(response.contains("data: \"Why\""), "{response}");
}

#[test]
fn the_programs_of_the_tests_run() {
    let server = Server::start(Script::joke()).unwrap();
    for (name, expected) in [
        ("on_tokio", ""),
        ("on_smol", ""),
        ("on_async_std", ""),
        ("own_client", "my-model: Why not?\ncancelled after \"Because\"\n"),
        (
            "own_chain",
            "deep-thought on_chain_start\n  my-model on_llm_start\n  my-model on_llm_end\ndeep-thought on_chain_end\n",
        ),
        ("deliveries", "the page: Why not?\nmy-model: Why not? (dropped 0 events)\n"),
        ("test_your_handlers", "as expected\n"),
        ("sync_program", "Why not?\nmy-model: Why not?\n"),
    ] {
        let output = example(name).env("OPENAI_BASE_URL", server.base_url()).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        match (expected, &*text) {
            ("", text) => assert_joke(text, name),
            // The run's end does not wait for the traces, so either line may be first.
            (_, "my-model: Why not? (dropped 0 events)\nthe page: Why not?\n") => {}
            (expected, text) => assert_eq!(text, expected, "{name}"),
        }
    }
}

/// The files of the promises that are not a promise.
const HELPERS: [&str; 3] = ["mod.rs", "stage.rs", "watched.rs"];

/// Each link is a file or a directory, and each promise has a link.
#[test]
fn its_links_lead_somewhere() {
    let readme = readme();
    let links: Vec<&str> =
        readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    for link in links.iter().filter(|link| !link.contains("://")) {
        assert!(root().join(link).exists(), "{link}");
    }
    let promises = fs::read_dir(root().join("tests/tests/it/promises")).unwrap();
    for module in promises
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !HELPERS.contains(&&**name))
    {
        assert!(links.contains(&&*format!("tests/tests/it/promises/{module}")), "{module}");
    }
}
