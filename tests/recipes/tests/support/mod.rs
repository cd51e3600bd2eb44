//! A scripted server, and a log of events.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use rappel_tokio::Awaited;
use rappel_tokio::prelude::*;
use serde_json::{Value, json};

/// What the server does behind the last part of its answer.
#[derive(Clone, Copy, PartialEq)]
pub enum Then {
    /// It ends the answer.
    Ends,
    /// It closes the connection in the middle of the body.
    Cuts,
    /// It waits until the client closes the connection.
    Waits,
}

/// A server that answers one request.
pub struct Server {
    pub url: String,
    request: Receiver<Value>,
    closed: Receiver<()>,
}

impl Server {
    /// Each part of the answer is a chunk of its body.
    pub fn start(
        status: &'static str,
        content_type: &'static str,
        parts: Vec<impl Into<Vec<u8>>>,
        then: Then,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let parts: Vec<Vec<u8>> = parts.into_iter().map(Into::into).collect();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let ((send, request), (close, closed)) = (channel(), channel());
        std::thread::spawn(move || {
            let (connection, _) = listener.accept().unwrap();
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
            );
            // A client that has gone is no error of the server.
            let _ = serve(connection, &head, &parts, then, &send);
            let _ = close.send(());
        });
        Self { url, request, closed }
    }

    pub fn request(&self) -> Value {
        self.request.recv_timeout(LIMIT).unwrap()
    }

    /// Waits until the client has closed its connection.
    pub fn until_closed(&self) {
        self.closed.recv_timeout(LIMIT).unwrap();
    }
}

const LIMIT: Duration = Duration::from_secs(60);

fn serve(
    mut connection: TcpStream,
    head: &str,
    parts: &[Vec<u8>],
    then: Then,
    requests: &Sender<Value>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            Some(_) => {}
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let _ = requests.send(serde_json::from_slice(&body).unwrap());
    connection.write_all(head.as_bytes())?;
    for part in parts {
        write!(connection, "{:x}\r\n", part.len())?;
        connection.write_all(part)?;
        connection.write_all(b"\r\n")?;
    }
    match then {
        Then::Ends => connection.write_all(b"0\r\n\r\n"),
        Then::Cuts => Ok(()),
        Then::Waits => reader.read(&mut [0]).map(drop),
    }
}

/// Server-sent events of these objects. Ollama sends none.
#[allow(dead_code, reason = "not each test has them")]
pub fn sse(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// The events, as data.
pub struct Log {
    events: Arc<Mutex<Vec<Value>>>,
    /// It has the log as its only handler.
    callbacks: CallbackManager,
}

impl Log {
    pub fn new() -> Self {
        let events = Arc::<Mutex<Vec<Value>>>::default();
        let log = events.clone();
        let handler = handler_fn(move |event, _cx: &EventContext| {
            log.lock().unwrap().push(describe(event));
            Ok(())
        });
        let callbacks = CallbackManager::new(Tokio::current())
            .with_handler_options(handler, Awaited::new().inline());
        Self { events, callbacks }
    }

    /// The events behind the start.
    pub async fn events(&self) -> Vec<Value> {
        self.callbacks.flush().await.unwrap();
        let events = self.events.lock().unwrap().clone();
        assert_eq!(events[0], "start");
        events[1..].to_vec()
    }
}

fn describe(event: &Event) -> Value {
    match event {
        Event::ChatModelStart(_) => "start".into(),
        Event::LlmNewToken(token) => match &token.chunk {
            Some(chunk) => json!({"token": chunk}),
            None => json!({"token": {"text": token.token}}),
        },
        Event::LlmEnd(end) => json!({"end": end.result}),
        Event::LlmError(end) => {
            json!({"error": end.error.to_string(), "partial": end.partial.text()})
        }
        event => panic!("{event:?}"),
    }
}

/// Drops the answer when handlers have got so many tokens.
pub async fn dropped(
    answer: impl Future<Output = Result<LlmResult, RunError>>,
    log: &Log,
    tokens: usize,
) {
    let mut answer = std::pin::pin!(answer);
    let got = std::future::poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Ready(result) => panic!("it has no end: {result:?}"),
        Poll::Pending if log.events.lock().unwrap().len() > tokens => Poll::Ready(()),
        Poll::Pending => Poll::Pending,
    });
    tokio::time::timeout(LIMIT, got).await.unwrap();
}

/// A result with the usage of all scripts.
pub fn result(generation: Value, usage: Value, more: Value) -> Value {
    let mut whole = json!({"text": "", "reasoning": "", "refusal": "", "finish_reason": null, "tool_calls": [], "logprobs": [], "extra": {}});
    extend(&mut whole, generation);
    let mut result = json!({"generations": [whole], "usage": usage, "model_name": null, "response_id": null, "request_id": null, "llm_output": null});
    extend(&mut result, more);
    result
}

/// Adds the fields of `more` to an object.
pub fn extend(object: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("{more}") };
    object.as_object_mut().unwrap().extend(more);
}

/// Starts a run, and gives it to the client's code.
pub async fn run(log: &Log) -> LlmRun {
    let start = ChatModelStart::new("m", [Message::human("How is the weather in Bonn?")]);
    log.callbacks.on_chat_model_start(start).await.unwrap()
}

/// Runs an example as a user does. `cargo test` has built it.
pub fn run_example(name: &str, variable: &str, url: &str) -> Output {
    // TARGET/PROFILE/deps/NAME-…
    let this = std::env::current_exe().unwrap();
    let example = this.ancestors().nth(2).unwrap().join("examples").join(name);
    let mut command = Command::new(example.with_extension(std::env::consts::EXE_EXTENSION));
    command.env(variable, url).env("OPENAI_API_KEY", "sk-none");
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.output().unwrap()
}

/// The page has the example, whole.
pub fn assert_in_page(page: &str, example: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(here.join("../../docs").join(page)).unwrap();
    let block = format!("<!-- tests/recipes/examples/{example}.rs -->\n```rust\n");
    let (_, rest) = page.split_once(&block).expect("the page has the block");
    let (code, _) = rest.split_once("```").unwrap();
    let file = here.join("examples").join(example).with_extension("rs");
    assert_eq!(code, std::fs::read_to_string(file).unwrap());
}

/// The table of frameworks has the version of the manifest.
pub fn assert_in_table(name: &str, row: &str) {
    let manifest = include_str!("../../Cargo.toml");
    let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
    let version = line.split_once("version = \"=").unwrap().1.split('"').next().unwrap();
    let table = include_str!("../../../../docs/frameworks.md");
    assert!(table.contains(&format!("| {row} | {version} |")), "{row} {version}");
}
