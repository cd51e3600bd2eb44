//! The service with real sockets. `tests/browser` has the page in a browser.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

use std::net::SocketAddr;
use std::time::Duration;

use rappel::handlers::{Collector, Price};
use rappel::streams::check;
use rappel::{Value, json};
use rappel_tests::openai_server::MARKED_KEY;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;

/// How long the model's server may take to notice that its client has disconnected. It is
/// immediate, except on a busy machine.
const NOTICES: Duration = Duration::from_secs(30);

const QUESTION: &str = "What is 6 * 7?";

/// Serves the service on a free port.
async fn serve(model: &Server, callbacks: &CallbackManager) -> SocketAddr {
    let chat = ChatOpenAi::builder()
        .model("m")
        .base_url(model.base_url())
        .api_key(MARKED_KEY)
        .max_retries(0)
        .streaming(true)
        .tools(Tools::list())
        .build()
        .unwrap();
    let prices = Prices::new().with("m", Price::per_million(1.0, 2.0));
    let service = Service::new(chat, Tools::new("."), callbacks.clone(), prices);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, service.router()).await });
    address
}

/// Sends a request. The answer to HTTP 1.0 has no sizes of chunks in its body.
async fn post(address: SocketAddr, path: &str, host: &str, body: &Value) -> BufReader<TcpStream> {
    let (body, mut socket) = (body.to_string(), TcpStream::connect(address).await.unwrap());
    let head =
        format!("POST {path} HTTP/1.0\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(socket)
}

/// The head and the body of an answer.
async fn answer(address: SocketAddr, path: &str, body: &Value) -> (String, String) {
    let mut text = String::new();
    post(address, path, "localhost", body).await.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn ui_request() -> Value {
    let parts = json!([{"type": "text", "text": QUESTION}]);
    let messages = json!([{"id": "1", "role": "user", "parts": parts}]);
    json!({"id": "c", "trigger": "submit-message", "messages": messages})
}

fn ag_ui_request() -> Value {
    let messages = json!([{"id": "1", "role": "user", "content": QUESTION}]);
    json!({"threadId": "t", "runId": "r", "messages": messages, "state": {}, "tools": []})
}

#[tokio::test]
async fn each_kind_of_client_gets_the_reasoning_the_tool_and_the_answer() {
    let model = Server::start(Script::made(scripted_model::reply)).unwrap();
    let address = serve(&model, &CallbackManager::new(Tokio::current())).await;

    let (head, body) = answer(address, "/api/chat", &ui_request()).await;
    assert!(head.contains("x-vercel-ai-ui-message-stream: v1"), "{head}");
    check::ui_message_stream(&body).unwrap_or_else(|flaw| panic!("{flaw}\n{body}"));
    for part in [
        r#""type":"reasoning-delta""#,
        r#""toolName":"calculator""#,
        r#""output":"42""#,
        r#""delta":"42.""#,
        r#""finishReason":"stop""#,
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    let runs = check::sse_data(&body).unwrap();
    let runs: Vec<Value> = runs.iter().filter_map(|part| serde_json::from_str(part).ok()).collect();
    let runs: Vec<&Value> = runs.iter().filter(|part| part["type"] == "data-run").collect();
    let ended = |name: &str| {
        let run = runs.iter().rfind(|run| run["data"]["name"] == name).unwrap();
        assert_eq!(run["data"]["state"], "done", "{run}");
        assert!(run["data"]["ms"].as_f64().unwrap() >= 0.0, "{run}");
        *run
    };
    assert_eq!(runs.len(), 8, "an agent, two models and a tool start and end");
    assert_eq!(ended("calculator")["data"]["parent"], ended("agent")["id"]);
    let of_model = &ended("m")["data"];
    let (input, output) = (of_model["input"].as_f64(), of_model["output"].as_f64());
    let cost = (input.unwrap() + 2.0 * output.unwrap()) / 1e6;
    assert!((of_model["cost"].as_f64().unwrap() - cost).abs() < 1e-12, "{of_model}");

    let (_, body) = answer(address, "/api/agui", &ag_ui_request()).await;
    check::ag_ui(&body).unwrap_or_else(|flaw| panic!("{flaw}\n{body}"));
    assert!(body.contains(r#""threadId":"t""#) && body.contains(r#""content":"42""#), "{body}");

    let (_, body) = answer(address, "/api/events", &json!({"input": QUESTION})).await;
    let events = check::sse_data(&body).unwrap();
    assert!(events.first().unwrap().contains("on_chain_start"), "{body}");
    assert!(events.iter().any(|event| event.contains("on_chat_model_stream")), "{body}");
    assert!(events.last().unwrap().contains("on_chain_end"), "{body}");
}

#[tokio::test]
async fn a_closed_tab_is_one_cancelled_for_each_run_and_closes_the_socket_of_the_model() {
    let model = Server::start(Script::made(scripted_model::reply).gated()).unwrap();
    let collector = Collector::new(1);
    let callbacks = CallbackManager::new(Tokio::current()).with(collector.clone());
    let address = serve(&model, &callbacks).await;
    let mut tab = post(address, "/api/chat", "localhost", &ui_request()).await;
    // The role, and a word of the reasoning. The model waits before the next one.
    model.release(2);
    let mut line = String::new();
    while !line.contains("reasoning-delta") {
        line.clear();
        assert_ne!(tab.read_line(&mut line).await.unwrap(), 0, "the answer has ended");
    }
    drop(tab);

    let noticed = tokio::task::spawn_blocking(move || model.wait_broken_off(1, NOTICES)).await;
    assert!(noticed.unwrap(), "the socket of the model is open");
    callbacks.flush().await.unwrap();
    let trace = collector.take().pop().unwrap();
    assert_eq!(trace.runs().len(), 2, "the agent and its model");
    for run in trace.runs() {
        assert!(matches!(run.error(), Some(RunError::Cancelled)), "{}", run.name());
    }
}

#[tokio::test]
async fn the_key_is_in_no_answer_although_the_server_repeats_it() {
    let model = Server::start(Script::joke().require_key("another")).unwrap();
    let address = serve(&model, &CallbackManager::new(Tokio::current())).await;
    for (path, request, error) in [
        ("/api/chat", ui_request(), r#""type":"error""#),
        ("/api/agui", ag_ui_request(), "RUN_ERROR"),
        ("/api/events", ui_request(), "on_chain_error"),
    ] {
        let (head, body) = answer(address, path, &request).await;
        assert!(body.contains(error), "{body}");
        assert!(!head.contains(MARKED_KEY) && !body.contains(MARKED_KEY), "{path}");
    }
}

#[tokio::test]
async fn a_request_without_a_question_or_for_another_host_is_refused() {
    let model = Server::start(Script::joke()).unwrap();
    let address = serve(&model, &CallbackManager::new(Tokio::current())).await;
    for request in [json!({}), json!({"messages": [{"role": "assistant", "content": "hi"}]})] {
        for path in ["/api/chat", "/api/agui", "/api/events"] {
            let (head, body) = answer(address, path, &request).await;
            assert!(head.starts_with("HTTP/1.0 400"), "{head}");
            assert_eq!(body, request::NO_QUESTION);
        }
    }
    let mut answer = String::new();
    let mut foreign = post(address, "/api/chat", "example.com:3000", &ui_request()).await;
    foreign.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 403"), "{answer}");
    assert!(model.requests().is_empty());
}

#[test]
fn the_page_has_no_way_to_make_markup_of_a_text() {
    let page = include_str!("page.html");
    let script = page.split_once("<script").unwrap().1.replace("no innerHTML here", "");
    for way in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "DOMParser", "eval("]
    {
        assert!(!script.contains(way), "{way}");
    }
    assert!(!page.contains("http://") && !page.contains("https://"), "it loads nothing");
}
