//! Connections that are used again, and those that must not be.

use std::sync::mpsc::channel;

use super::*;

const ANSWER: &str = r#"{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}"#;

fn without_pool() -> ConnectionSettings {
    ConnectionSettings { pool_size: Some(0), ..ConnectionSettings::default() }
}

#[test]
fn a_whole_answer_leaves_its_connection_to_the_next_request() {
    let server = Server::start(|mut peer| {
        for _ in 0..3 {
            assert!(!peer.read_request().to_ascii_lowercase().contains("connection: close"));
            peer.send(&answer(200, "application/json", ANSWER));
        }
    });
    let client = client(&server.url());
    for _ in 0..3 {
        complete(&client).unwrap();
    }
    server.join();
}

#[test]
fn so_does_a_stream_whose_end_comes_behind_its_last_event() {
    let (over, wait) = channel::<()>();
    let (sent, arrived) = channel::<()>();
    let server = Server::start(move |mut peer| {
        for _ in 0..2 {
            peer.read_request();
            peer.send(STREAM_HEAD);
            peer.send(&chunked(&format!("{EVENT}{LAST}data: [DONE]\n\n")));
            // The client has had all it wants by now.
            wait.recv().unwrap();
            peer.send("0\r\n\r\n");
            sent.send(()).unwrap();
        }
    });
    let client = client(&server.url());
    for _ in 0..2 {
        let (chunks, end) = drain(stream(&client).unwrap());
        assert!(chunks == 2 && end.is_ok());
        over.send(()).unwrap();
        arrived.recv().unwrap();
    }
    server.join();
}

#[test]
fn so_does_an_error() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(&answer(500, "application/json", "{}"));
        peer.read_request();
        peer.send(&answer(200, "application/json", ANSWER));
    });
    let client = client(&server.url());
    complete(&client).unwrap_err();
    complete(&client).unwrap();
    server.join();
}

/// The connection of a server for two of them; what is done with the first one is up to the script.
fn two_connections(
    first: impl FnOnce(&mut server::Peer<std::net::TcpStream>) + Send + 'static,
) -> (Server<()>, std::sync::mpsc::Receiver<()>) {
    let (done, wait) = channel();
    let server = Server::start_many(move |mut accept| {
        let mut peer = accept();
        peer.read_request();
        first(&mut peer);
        drop(peer);
        done.send(()).unwrap();
        let mut peer = accept();
        peer.read_request();
        peer.send(&answer(200, "application/json", ANSWER));
    });
    (server, wait)
}

#[test]
fn one_that_the_server_has_closed_is_not_used() {
    let (server, closed) =
        two_connections(|peer| peer.send(&answer(200, "application/json", ANSWER)));
    let client = client(&server.url());
    complete(&client).unwrap();
    closed.recv().unwrap();
    complete(&client).unwrap();
    server.join();
}

/// What a server sends behind an answer must never be taken for the next one.
#[test]
fn one_with_something_left_in_it_is_not_used() {
    let (server, closed) = two_connections(|peer| {
        let whole = answer(200, "application/json", ANSWER);
        let poison = answer(200, "application/json", r#"{"id":"poison","choices":[{}]}"#);
        peer.send(&format!("{whole}{poison}"));
        // Until the client has given it up.
        peer.read_to_close();
    });
    let client = client(&server.url());
    for _ in 0..2 {
        assert!(complete(&client).unwrap().llm_output.is_none());
    }
    closed.recv().unwrap();
    server.join();
}

#[test]
fn one_that_the_server_does_not_want_to_keep_is_closed() {
    let (server, closed) = two_connections(|peer| {
        let whole = answer(200, "application/json", ANSWER);
        peer.send(&whole.replace("content-length", "connection: close\r\ncontent-length"));
        peer.read_to_close();
    });
    let client = client(&server.url());
    complete(&client).unwrap();
    closed.recv().unwrap();
    complete(&client).unwrap();
    server.join();
}

#[test]
fn one_that_was_idle_for_long_is_not_used() {
    let (server, closed) = two_connections(|peer| {
        peer.send(&answer(200, "application/json", ANSWER));
        peer.read_to_close();
    });
    let time = Arc::new(Hand::default());
    let client = client_with(
        &server.url(),
        ConnectionSettings { timer: Some(time.clone()), ..ConnectionSettings::default() },
    );
    complete(&client).unwrap();
    time.0.store(56, std::sync::atomic::Ordering::Relaxed);
    complete(&client).unwrap();
    closed.recv().unwrap();
    server.join();
}

#[test]
fn without_a_pool_there_is_none() {
    let (server, closed) = two_connections(|peer| {
        peer.send(&answer(200, "application/json", ANSWER));
        peer.read_to_close();
    });
    let client = client_with(&server.url(), without_pool());
    complete(&client).unwrap();
    closed.recv().unwrap();
    complete(&client).unwrap();
    server.join();
}

/// A timer whose hand is moved by the second, and that nobody sleeps by.
#[derive(Default)]
struct Hand(std::sync::atomic::AtomicU64);

impl rappel_core::Timer for Hand {
    fn sleep(&self, _: Duration) -> rappel_core::runtime::BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// The server closes an idle connection at the moment when the next request goes out. Nothing is
/// tried twice here, so a retry would be an error.
#[test]
fn one_that_is_closed_as_the_request_goes_out_is_replaced() {
    let (server, closed) = two_connections(|peer| {
        peer.send(&answer(200, "application/json", ANSWER));
        // The second request has been sent, and is not answered.
        peer.read_request();
    });
    let client = client(&server.url());
    for _ in 0..2 {
        complete(&client).unwrap();
    }
    closed.recv().unwrap();
    server.join();
}

/// A server that has begun to answer has seen the request.
#[test]
fn one_that_is_closed_within_a_head_is_not_replaced() {
    let server = Server::start(|mut peer| {
        peer.read_request();
        peer.send(&answer(200, "application/json", ANSWER));
        peer.read_request();
        peer.send("HTTP/1.1 200 O");
    });
    let client = client(&server.url());
    complete(&client).unwrap();
    let error = complete(&client).unwrap_err();
    assert!(matches!(error, OpenAiError::ClosedBeforeResponse { .. }), "{error:?}");
    server.join();
}
