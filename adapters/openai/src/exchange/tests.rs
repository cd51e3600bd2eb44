//! Against a server of bare sockets, which can misbehave as no real one would.
#![allow(clippy::unwrap_used)]

mod kept;
mod proxies;
mod server;
mod tls;

use std::future::Future;
use std::io::Write;
use std::task::Poll;

use futures_lite::{StreamExt, future::block_on};
use server::{Server, answer, chunked};

use rappel_core::LlmResult;

use super::*;
use crate::{
    client::Client,
    connection::ConnectionSettings,
    limits::{Limits, Times},
    proxy::ProxyChoice,
    retry::Retries,
    wire::ChatRequest,
};

static_assertions::assert_impl_all!(Client: Send, Sync);
static_assertions::assert_impl_all!(ResponseBody: Send, Unpin);

const EVENT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
const LAST: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// For how long either side waits for the other one, so that a test that fails does not hang. It
/// takes no time but on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn client(base_url: &str) -> Client {
    client_with(base_url, ConnectionSettings::default())
}

/// No environment has a say, and nothing is tried twice.
fn client_with(base_url: &str, settings: ConnectionSettings) -> Client {
    let settings = ConnectionSettings {
        proxy: match settings.proxy {
            ProxyChoice::Environment => ProxyChoice::None,
            other => other,
        },
        retries: Retries { most: 0 },
        times: Times { first_byte: Some(PATIENCE), chunk: Some(PATIENCE), ..settings.times },
        ..settings
    };
    let key = Secret::new("sk-secret-1").unwrap();
    settings.client(Endpoint::parse(base_url).unwrap(), Some(key)).unwrap()
}

fn complete(client: &Client) -> Result<LlmResult, OpenAiError> {
    let request = ChatRequest { model: "m", ..ChatRequest::default() };
    block_on(client.complete(&request, Arc::default(), client.due()))
}

fn stream(client: &Client) -> Result<crate::sse::ChunkStream, OpenAiError> {
    let request = ChatRequest { model: "m", stream: true, ..ChatRequest::default() };
    block_on(client.stream(&request, client.due()))
}

/// The number of chunks, and how the stream ended.
fn drain(mut stream: crate::sse::ChunkStream) -> (usize, Result<(), OpenAiError>) {
    let mut chunks = 0;
    loop {
        match block_on(stream.next()) {
            Some(Ok(_)) => chunks += 1,
            Some(Err(error)) => return (chunks, Err(error)),
            None => return (chunks, Ok(())),
        }
    }
}

#[test]
fn a_whole_answer_is_read() {
    let server = Server::start(|mut peer| {
        let request = peer.read_request();
        let json = r#"{"id":"c","choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;
        peer.send(&answer(200, "application/json", json));
        request
    });
    let answer = complete(&client(&server.url())).unwrap();
    assert_eq!(answer.llm_output.unwrap()["id"], "c");

    let request = server.join();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    for line in [
        "authorization: bearer sk-secret-1",
        "content-type: application/json",
        "accept: application/json",
        "accept-encoding: identity",
        "host: 127.0.0.1:",
        "user-agent: rappel-openai/",
    ] {
        assert!(head.contains(&format!("\r\n{line}")), "{line} is not in {head}");
    }
    assert_eq!(body, r#"{"model":"m","messages":[],"stream":false}"#);
}

#[test]
fn a_stream_is_read_as_it_comes() {
    // The server sends an event only once the client has the one before it.
    let (got, wait) = std::sync::mpsc::channel::<()>();
    let server = Server::start(move |mut peer| {
        let request = peer.read_request();
        peer.send(STREAM_HEAD);
        for event in [EVENT, EVENT, LAST, "data: [DONE]\n\n"] {
            peer.send(&chunked(event));
            if event != "data: [DONE]\n\n" {
                wait.recv().unwrap();
            }
        }
        peer.send("0\r\n\r\n");
        request
    });
    let mut stream = stream(&client(&server.url())).unwrap();
    for _ in 0..3 {
        block_on(stream.next()).unwrap().unwrap();
        got.send(()).unwrap();
    }
    assert!(block_on(stream.next()).is_none());
    assert!(server.join().contains("accept: text/event-stream"));
}

#[test]
fn a_stream_without_a_length_ends_with_the_connection() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send("HTTP/1.0 200 OK\r\n\r\n");
        peer.send(EVENT);
        peer.send(LAST);
    });
    let (chunks, end) = drain(stream(&client(&server.url())).unwrap());
    assert_eq!(chunks, 2);
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn a_stream_cut_in_the_middle_delivers_what_came() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(STREAM_HEAD);
        peer.send(&chunked(EVENT));
        peer.send(&chunked(EVENT));
        peer.send("ff\r\ndata: {");
    });
    let (chunks, end) = drain(stream(&client(&server.url())).unwrap());
    assert_eq!(chunks, 2);
    assert!(matches!(end, Err(OpenAiError::Cut { source: Some(_) })), "{end:?}");
}

#[test]
fn a_stream_that_stops_in_good_order_but_without_an_end_is_cut() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(STREAM_HEAD);
        peer.send(&chunked(EVENT));
        peer.send("0\r\n\r\n");
    });
    let (chunks, end) = drain(stream(&client(&server.url())).unwrap());
    assert_eq!(chunks, 1);
    assert!(matches!(end, Err(OpenAiError::Cut { source: None })), "{end:?}");
}

#[test]
fn broken_chunk_sizes_are_the_servers_fault() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(STREAM_HEAD);
        peer.send(&chunked(EVENT));
        peer.send("zz\r\n");
    });
    let (chunks, end) = drain(stream(&client(&server.url())).unwrap());
    assert_eq!(chunks, 1);
    assert!(matches!(end, Err(OpenAiError::Http { .. })), "{end:?}");
}

#[test]
fn a_whole_answer_may_be_cut_too() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":");
    });
    let error = complete(&client(&server.url())).unwrap_err();
    assert!(matches!(error, OpenAiError::Cut { source: Some(_) }), "{error:?}");
}

#[test]
fn a_connection_closed_before_the_response_is_told_apart() {
    for head in ["", "HTTP/1.1 200 O"] {
        let server = Server::start(move |mut peer| {
            peer.read_request();
            peer.send(head);
        });
        let error = complete(&client(&server.url())).unwrap_err();
        assert!(matches!(error, OpenAiError::ClosedBeforeResponse { .. }), "{error:?}");
        assert!(error.is_retryable());
    }
}

#[test]
fn what_is_no_http_is_a_protocol_error() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send("220 mail.example ESMTP\r\n\r\n");
    });
    let error = complete(&client(&server.url())).unwrap_err();
    assert!(matches!(error, OpenAiError::Http { .. }), "{error:?}");
}

#[test]
fn a_refused_connection_names_the_address() {
    // A reserved port: no test is ever given it, as could happen with one that was just closed.
    let error = complete(&client("http://127.0.0.1:1/v1")).unwrap_err();
    assert_eq!(error.to_string(), "could not connect to 127.0.0.1:1");
    assert!(matches!(error, OpenAiError::Connect { .. }) && error.is_retryable(), "{error:?}");
}

#[test]
fn a_name_that_is_none_does_not_resolve() {
    // Too long for DNS, so that nobody is asked.
    let name = "x".repeat(64);
    let error = complete(&client(&format!("http://{name}/v1"))).unwrap_err();
    assert!(matches!(&error, OpenAiError::Resolve { host, .. } if *host == name), "{error:?}");
}

#[test]
fn requests_can_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    let client = client("http://127.0.0.1:1/v1");
    let request = ChatRequest::default();
    is_send(client.complete(&request, Arc::default(), None));
    is_send(client.stream(&request, None));
}

#[test]
fn dropping_the_stream_closes_the_socket() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(STREAM_HEAD);
        peer.send(&chunked(EVENT));
        peer.read_to_close();
    });
    let mut stream = stream(&client(&server.url())).unwrap();
    block_on(stream.next()).unwrap().unwrap();
    drop(stream);
    server.join();
}

#[test]
fn the_end_of_the_stream_lets_the_connection_go_even_if_the_stream_is_kept() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(STREAM_HEAD);
        peer.send(&chunked("data: [DONE]\n\n"));
        peer.read_to_close();
    });
    let client = client(&server.url());
    let mut stream = stream(&client).unwrap();
    assert!(block_on(stream.next()).is_none());
    // It was kept for the next request; now there can be none.
    drop(client);
    server.join();
    drop(stream);
}

#[test]
fn dropping_the_request_closes_the_socket() {
    let (arrived, wait) = std::sync::mpsc::channel();
    let server = Server::start(move |mut peer| {
        peer.read_request();
        arrived.send(()).unwrap();
        peer.read_to_close();
    });
    let client = client(&server.url());
    let request = ChatRequest::default();
    let mut request = Box::pin(client.complete(&request, Arc::default(), None));
    // Polled until the server has the whole request, which it never answers.
    block_on(futures_lite::future::poll_fn(|cx| {
        assert!(request.as_mut().poll(cx).is_pending());
        cx.waker().wake_by_ref();
        match wait.try_recv() {
            Ok(()) => Poll::Ready(()),
            Err(_) => Poll::Pending,
        }
    }));
    drop(request);
    server.join();
}

#[test]
fn a_status_has_the_servers_words_but_not_the_key() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        let json =
            r#"{"error":{"message":"bad key sk-secret-1","type":"auth","code":"invalid_api_key"}}"#;
        peer.send(&answer(401, "application/json", json));
    });
    let error = complete(&client(&server.url())).unwrap_err();
    assert_eq!(error.to_string(), "the server answered 401: bad key [redacted]");
    assert!(!format!("{error:?}").contains("secret"));
    let OpenAiError::Status { status, code, kind, retry_after, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((status, retry_after), (401, None));
    assert_eq!((code.as_deref(), kind.as_deref()), (Some("invalid_api_key"), Some("auth")));
}

#[test]
fn a_status_without_words_has_its_own() {
    for (extra, expected) in [
        ("retry-after: 2\r\n", Some(Duration::from_secs(2))),
        ("retry-after: 0.5\r\n", Some(Duration::from_millis(500))),
        ("retry-after: 9\r\nretry-after-ms: 20\r\n", Some(Duration::from_millis(20))),
        ("retry-after: -1\r\n", None),
        // Longer than any clock will run: not to be taken for no wait at all.
        ("retry-after: 99999999999999999999999\r\n", Some(Duration::MAX)),
        ("retry-after-ms: 1e300\r\n", Some(Duration::MAX)),
        ("retry-after-ms: soon\r\nretry-after: 3\r\n", Some(Duration::from_secs(3))),
        ("retry-after: NaN\r\n", None),
        (
            "date: Wed, 21 Oct 2026 07:27:18 GMT\r\nretry-after: Wed, 21 Oct 2026 07:28:00 GMT\r\n",
            Some(Duration::from_secs(42)),
        ),
        ("retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n", Some(Duration::ZERO)),
        ("retry-after: soon\r\n", None),
    ] {
        let server = Server::start(move |mut peer| {
            peer.read_request();
            // Cut short, too: the status matters more than its body.
            peer.send(&format!("HTTP/1.1 503 x\r\n{extra}content-length: 9\r\n\r\n"));
        });
        let error = stream(&client(&server.url())).unwrap_err();
        assert_eq!(error.to_string(), "the server answered 503: Service Unavailable");
        let OpenAiError::Status { retry_after, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(retry_after, expected, "{extra}");
    }
}

#[test]
fn ipv6_is_spoken() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        return eprintln!("this machine has no IPv6: not tried");
    };
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let mut peer = server::Peer(listener.accept().unwrap().0);
        let request = peer.read_request();
        peer.send(&answer(200, "application/json", r#"{"choices":[{}]}"#));
        request
    });
    complete(&client(&format!("http://[::1]:{port}/v1"))).unwrap();
    assert!(server.join().unwrap().contains(&format!("host: [::1]:{port}\r\n")));
}

#[test]
fn a_stalled_error_page_does_not_hide_its_status() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send("HTTP/1.1 500 x\r\ncontent-length: 100\r\n\r\n<p>sorry");
        peer.read_to_close();
    });
    // Its time runs a hundred times as fast as ours.
    let settings = ConnectionSettings {
        timer: Some(std::sync::Arc::new(Fast)),
        ..ConnectionSettings::default()
    };
    let error = complete(&client_with(&server.url(), settings)).unwrap_err();
    assert_eq!(error.to_string(), "the server answered 500: <p>sorry");
    server.join();
}

struct Fast;

impl rappel_core::Timer for Fast {
    fn sleep(&self, duration: Duration) -> rappel_core::runtime::BoxFuture<'static, ()> {
        Box::pin(async move {
            async_io::Timer::after(duration / 100).await;
        })
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

#[test]
fn an_endless_error_page_is_not_read_to_its_end() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send("HTTP/1.1 500 x\r\n\r\n");
        peer.send_until_closed(&"<p>sorry</p>".repeat(1000));
    });
    let error = complete(&client(&server.url())).unwrap_err();
    assert!(error.to_string().len() < 1000);
    server.join();
}

#[test]
fn the_wrong_content_type_is_named() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(&answer(200, "text/html; x=sk-secret-1", "<p>Welcome to nginx</p>"));
    });
    let error = complete(&client(&server.url())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected a response of type application/json, got text/html; x=[redacted]"
    );
}

#[test]
fn a_compression_that_nobody_asked_for_is_named_wherever_it_is_said() {
    for (said, named) in [
        ("content-encoding: gzip", "gzip"),
        ("content-encoding: identity\r\ncontent-encoding: br; x=sk-secret-1", "br; x=[redacted]"),
        ("transfer-encoding: gzip, chunked", "gzip, chunked"),
        ("transfer-encoding: deflate\r\ntransfer-encoding: chunked", "deflate"),
    ] {
        let server = Server::start(move |mut peer| {
            peer.read_request();
            let length = if said.contains("chunked") { "" } else { "content-length: 2\r\n" };
            let body = if said.contains("chunked") { "2\r\n{}\r\n0\r\n\r\n" } else { "{}" };
            peer.send(&format!("HTTP/1.1 200 OK\r\n{said}\r\n{length}\r\n{body}"));
        });
        let error = complete(&client(&server.url())).unwrap_err();
        assert!(
            matches!(&error, OpenAiError::Encoded { encoding, .. } if encoding == named),
            "{said}: {error:?}"
        );
        server.join();
    }
    for fine in ["Content-Encoding: Identity", "content-encoding:", "transfer-encoding: Chunked"] {
        let server = Server::start(move |mut peer| {
            peer.read_request();
            let json = r#"{"choices":[{}]}"#;
            match fine.contains("Chunked") {
                true => peer
                    .send(&format!("HTTP/1.1 200 OK\r\n{fine}\r\n\r\n{}0\r\n\r\n", chunked(json))),
                false => peer.send(&answer(200, &format!("application/json\r\n{fine}"), json)),
            }
        });
        complete(&client(&server.url())).unwrap();
        server.join();
    }
}

#[test]
fn an_error_page_that_cannot_be_read_is_not_repeated() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(&answer(503, "text/html\r\ncontent-encoding: gzip", "\u{1f}garbage"));
    });
    let error = complete(&client(&server.url())).unwrap_err();
    assert_eq!(error.to_string(), "the server answered 503: Service Unavailable");
}

/// Where a redirect leads may be said; with which name and password may not.
#[test]
fn a_redirects_ticket_is_not_repeated() {
    for (location, told) in [
        ("https://me:pass@elsewhere.invalid/v1?ticket=1", "https://elsewhere.invalid/v1"),
        ("//me@elsewhere.invalid", "//elsewhere.invalid"),
        ("/login/me@home#ticket", "/login/me@home"),
        ("https://elsewhere.invalid/~me@home", "https://elsewhere.invalid/~me@home"),
    ] {
        let server = Server::start(move |mut peer| {
            peer.read_request();
            peer.send(&format!(
                "HTTP/1.1 302 x\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
            ));
        });
        let error = complete(&client(&server.url())).unwrap_err();
        assert!(
            matches!(&error, OpenAiError::Redirected { location: Some(to), .. } if to == told),
            "{error:?}"
        );
    }
}

/// Heads that say "go on" come before the head that counts, and hyper reads them all in one turn.
#[test]
fn heads_without_an_end_are_no_way_around_the_limits() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        let heads = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
        for _ in 0..200 {
            if peer.0.write_all(heads.as_bytes()).is_err() {
                break;
            }
        }
    });
    let settings = ConnectionSettings {
        timer: Some(Arc::new(Ticking::default())),
        times: Times { connect: None, ..Times::default() },
        ..ConnectionSettings::default()
    };
    let error = complete(&client_with(&server.url(), settings)).unwrap_err();
    assert!(matches!(error, OpenAiError::TimedOut { phase: Phase::FirstByte, .. }), "{error:?}");
    server.join();
}

/// Three seconds pass with each look at it.
#[derive(Default)]
struct Ticking(std::sync::atomic::AtomicU64);

impl rappel_core::Timer for Ticking {
    fn sleep(&self, _: Duration) -> rappel_core::runtime::BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.0.fetch_add(3, std::sync::atomic::Ordering::Relaxed))
    }
}

#[test]
fn an_error_in_the_place_of_a_stream_is_read() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(&answer(200, "application/json", r#"{"error":{"message":"no streams here"}}"#));
    });
    let error = stream(&client(&server.url())).unwrap_err();
    assert_eq!(error.to_string(), "the server reported an error: no streams here");
}

#[test]
fn whole_answers_that_are_none_have_an_error_each() {
    let ask = |json: &'static str| {
        let server = Server::start(move |mut peer| {
            peer.read_request();
            peer.send(&answer(200, "application/json", json));
        });
        complete(&client(&server.url())).unwrap_err()
    };
    assert!(matches!(ask(r#"{"id":"c","choices":[]}"#), OpenAiError::NoChoices));
    assert!(matches!(ask(r#"{"error":"no"}"#), OpenAiError::Reported { .. }));
    assert!(matches!(ask("sk-secret-1"), OpenAiError::InvalidBody { .. }));
    assert!(matches!(ask(""), OpenAiError::InvalidBody { .. }));
}

#[test]
fn an_answer_without_bounds_is_refused() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n");
        peer.send_until_closed(&" ".repeat(1000));
    });
    let limits = Limits { body: 10_000, ..Limits::default() };
    let client =
        client_with(&server.url(), ConnectionSettings { limits, ..ConnectionSettings::default() });
    let error = complete(&client).unwrap_err();
    assert!(matches!(error, OpenAiError::BodyTooLarge { limit: 10_000 }), "{error:?}");
    server.join();
}

#[test]
fn the_key_is_not_in_the_clients_debug_output() {
    // Some gateways have a key in the path.
    let client = format!("{:?}", client("http://127.0.0.1:1/sk-secret-2/v1"));
    assert!(client.contains("127.0.0.1") && !client.contains("secret"), "{client}");
}
