#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use std::time::Duration;

use rappel::handlers::Collector;
use rappel_tests::openai_server::{Script, Server};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// How long the model's server may take to notice that its client has disconnected. It is
/// immediate, except on a busy machine.
const NOTICES: Duration = Duration::from_secs(30);

/// Serves the app on loopback. Returns what a browser has after it asked: a socket with an answer.
async fn asked(server: &Server, callbacks: &CallbackManager) -> BufReader<TcpStream> {
    let model = ChatOpenAi::builder()
        .model("m")
        .base_url(server.base_url())
        .api_key("k")
        .streaming(true)
        .callbacks(callbacks.clone())
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app(model)).await });
    let mut socket = TcpStream::connect(address).await.unwrap();
    // An answer to HTTP 1.0 has no sizes of chunks in its body.
    socket.write_all(b"POST / HTTP/1.0\r\ncontent-length: 4\r\n\r\nWhy?").await.unwrap();
    BufReader::new(socket)
}

#[tokio::test]
async fn a_closed_tab_is_one_cancelled_for_the_run_and_closes_the_socket_of_the_model() {
    let server = Server::start(Script::joke().gated()).unwrap();
    let collector = Collector::new(1);
    let callbacks = CallbackManager::new(Tokio::current()).with(collector.clone());
    let mut tab = asked(&server, &callbacks).await;
    // The role, and one token. The model waits before the next one.
    server.release(2);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert_ne!(tab.read_line(&mut line).await.unwrap(), 0, "the answer has ended");
    }
    assert_eq!(line.trim_end(), r#"data: "Why""#);
    drop(tab);

    let noticed =
        tokio::task::spawn_blocking(move || server.wait_broken_off(1, NOTICES)).await.unwrap();
    assert!(noticed, "the socket of the model is open");
    callbacks.flush().await.unwrap();
    let traces = collector.take();
    let runs: Vec<_> = traces.iter().flat_map(|trace| trace.runs()).collect();
    assert_eq!(runs.len(), 1);
    assert!(matches!(runs[0].error(), Some(RunError::Cancelled)), "{:?}", runs[0].error());
}

#[tokio::test]
async fn a_browser_gets_every_token_or_the_error() {
    for (script, expected) in [
        (Script::joke(), "data: \" everything\"\n\ndata: \".\"\n\n"),
        (Script::joke().require_key("another"), "event: failed\ndata: \"the run ended early: "),
    ] {
        let server = Server::start(script).unwrap();
        let callbacks = CallbackManager::new(Tokio::current());
        let mut answer = String::new();
        asked(&server, &callbacks).await.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("content-type: text/event-stream"), "{answer}");
        assert!(answer.contains(expected), "{answer}");
    }
}
