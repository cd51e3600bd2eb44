//! Recorded answers of servers, and what a user of `ChatOpenAi` must get of them.
//!
//! The format of a case is in `tests/wire/README.md`.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use futures_channel::oneshot;
use rappel_core::LlmResult;
use rappel_openai::OpenAiError;
use serde_json::{Value, json};

/// What a server does behind the last byte of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It closes the connection.
    Close,
    /// It keeps the connection open and sends nothing.
    Stall,
    /// It resets the connection.
    Reset,
}

/// A recorded answer.
#[derive(Debug, Clone)]
pub struct Case {
    /// The name of its files.
    pub name: String,
    /// Whether a stream is requested.
    pub streaming: bool,
    /// What the server does behind the last byte.
    pub after: After,
    /// The `max_retries` of the client.
    pub retries: u32,
    /// The response: head and body.
    pub bytes: Vec<u8>,
    want: Value,
}

impl Case {
    /// All cases below a directory of `tests`.
    ///
    /// # Panics
    /// If a case cannot be read.
    #[must_use]
    pub fn all(directory: &str) -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let files = fs::read_dir(&directory).expect("a directory of cases");
        let files = files.map(|file| file.expect("a file").path());
        let mut responses: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|kind| kind == "http")).collect();
        responses.sort();
        responses.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> Self {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let expectation = fs::read_to_string(path.with_extension("expect.md"));
        let expectation = expectation.unwrap_or_else(|error| panic!("{name}: {error}"));
        let value = |key: &str| {
            let line =
                expectation.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("{name} has no `{key}`")).trim().to_owned()
        };
        Self {
            streaming: match &*value("mode") {
                "stream" => true,
                "whole" => false,
                other => panic!("{name}: mode {other}"),
            },
            after: match &*value("after") {
                "close" => After::Close,
                "stall" => After::Stall,
                "reset" => After::Reset,
                other => panic!("{name}: after {other}"),
            },
            retries: value("retries").parse().expect("a number of retries"),
            bytes: fs::read(path).expect("a response"),
            want: serde_json::from_str(&value("want")).expect("JSON in `want`"),
            name,
        }
    }

    /// What is wrong with the outcome of a call, if anything is.
    #[must_use]
    pub fn fault(
        &self,
        result: &LlmResult,
        error: Option<&(dyn Error + 'static)>,
    ) -> Option<String> {
        let mut faults = String::new();
        for (key, want) in self.want.as_object().expect("an object in `want`") {
            let fine = match key.as_str() {
                "error" => says(error, want.as_str().unwrap_or_default()),
                _ => found(result, key) == *want,
            };
            if !fine {
                let found = if key == "error" { json!(words(error)) } else { found(result, key) };
                let _ = writeln!(faults, "{key}: expected {want}, got {found}");
            }
        }
        (!faults.is_empty())
            .then(|| format!("{}:\n{faults}{result:?}\n{}", self.name, words(error)))
    }

    /// Starts a server that sends the answer to each request, in packets of that size.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn serve(&self, packet: usize) -> (CannedServer, oneshot::Receiver<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (sent, all_sent) = oneshot::channel();
        let (bytes, after) = (self.bytes.clone(), self.after);
        // Tiny packets fill the client's buffer, and a reset discards those that wait for room.
        let packet = if after == After::Reset { packet.max(64) } else { packet };
        let thread = thread::spawn(move || serve(&listener, &bytes, packet, after, sent));
        (CannedServer { address, thread: Some(thread) }, all_sent)
    }
}

/// A server that answers one request after the other with the same bytes.
#[derive(Debug)]
pub struct CannedServer {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl CannedServer {
    /// The base URL for a client.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }
}

/// Its clients must be gone by then.
impl Drop for CannedServer {
    fn drop(&mut self) {
        // A connection without a request ends the server.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: &TcpListener,
    bytes: &[u8],
    packet: usize,
    after: After,
    sent: oneshot::Sender<()>,
) {
    let mut sent = Some(sent);
    let mut open = Vec::new();
    while let Ok((mut peer, _)) = listener.accept() {
        if !read_request(&mut peer, after == After::Reset) {
            return;
        }
        // Otherwise the kernel joins small packets.
        let _ = peer.set_nodelay(true);
        for packet in bytes.chunks(packet) {
            if peer.write_all(packet).is_err() {
                break;
            }
        }
        match after {
            After::Close => drop(peer.shutdown(Shutdown::Both)),
            After::Stall => open.push(peer),
            After::Reset => reset(peer),
        }
        if let Some(sent) = sent.take() {
            let _ = sent.send(());
        }
    }
}

/// Closes a socket that has unread bytes, which resets the connection.
fn reset(peer: TcpStream) {
    let _ = peer.peek(&mut [0]);
}

/// Reads the head of a request, and its body unless that is to be left. Returns `false` if there is
/// no request.
fn read_request(peer: &mut TcpStream, leave_body: bool) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match peer.read(&mut byte) {
            Ok(0) | Err(_) => return false,
            Ok(_) => head.push(byte[0]),
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or_default();
    leave_body || peer.read_exact(&mut vec![0; length]).is_ok()
}

/// The name of the error's variant, and the chain of its messages.
fn words(error: Option<&(dyn Error + 'static)>) -> String {
    let Some(error) = error else {
        return "none".to_owned();
    };
    let mut words = String::new();
    let run = error.downcast_ref::<rappel_core::RunError>();
    if let Some(cause) = run.and_then(|error| error.cause::<OpenAiError>()) {
        let debug = format!("{cause:?}");
        words.push_str(debug.split([' ', '(', '{']).next().unwrap_or_default());
    }
    let mut next = Some(error);
    while let Some(error) = next {
        let _ = write!(words, ": {error}");
        next = error.source();
    }
    words
}

fn says(error: Option<&(dyn Error + 'static)>, want: &str) -> bool {
    let words = words(error);
    if want == "none" {
        error.is_none()
    } else {
        want.split(" & ").all(|part| words.contains(part))
    }
}

/// The value of a key of an expectation.
fn found(result: &LlmResult, key: &str) -> Value {
    let first = result.generations.first();
    match key {
        "text" => json!(result.text()),
        "reasoning" => json!(first.map_or("", |said| &said.reasoning)),
        "refusal" => json!(first.map_or("", |said| &said.refusal)),
        "finish" => json!(result.finish_reason().map(ToString::to_string)),
        "model" => json!(result.model_name),
        "gens" => json!(result.generations.len()),
        "tools" => first
            .map(|said| said.tool_calls.iter())
            .into_iter()
            .flatten()
            .map(|call| json!([call.id, call.name, call.arguments]))
            .collect(),
        "usage" => result.usage.as_ref().map_or(Value::Null, |usage| {
            json!([usage.prompt_tokens, usage.completion_tokens, usage.total_tokens])
        }),
        path => {
            let path = path
                .strip_prefix("gens/")
                .map_or(path.to_owned(), |rest| format!("generations/{rest}"));
            let result = serde_json::to_value(result).expect("a result is JSON");
            result.pointer(&format!("/{path}")).cloned().unwrap_or_default()
        }
    }
}
