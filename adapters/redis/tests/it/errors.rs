//! Errors say what to do, and have no password.

use std::net::TcpListener;
use std::time::Duration;

use rappel_redis::{Connect, Error, RedisPublisher, RedisWorker};
use rappel_threads::prelude::*;

use crate::scene::{play, start};
use crate::support::{Server, wait_until};

fn build(url: &str) -> Error {
    RedisPublisher::new(url).build().expect_err("this should not connect")
}

#[test]
fn an_address_that_cannot_be_used() {
    for url in ["localhost", "http://localhost", "redis://:hidden@ho st/"] {
        let error = build(url);
        assert!(matches!(error, Error::Address(_)), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
    }
}

#[test]
fn a_server_that_is_not_there() {
    // Port 1 has no listener.
    let error = build("redis://user:hidden@127.0.0.1:1/");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("127.0.0.1:1") && !text.contains("hidden"), "{text}");
    let connect = Connect::to("redis://user:hidden@127.0.0.1:1/");
    let publisher = RedisPublisher::new(connect);
    assert!(!format!("{publisher:?}").contains("hidden"));
    let worker = RedisWorker::new("redis://user:hidden@127.0.0.1:1/");
    assert!(!format!("{worker:?} {:?}", worker.handle()).contains("hidden"));
    let error = worker.run(CallbackManager::new(Threads::new())).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[test]
fn passwords_and_permissions() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else { return };
    let at = |user: &str| format!("redis://{user}127.0.0.1:{}/", server.port);
    let error = build(&at(""));
    assert!(matches!(error, Error::PasswordNeeded), "{error:?}");
    let error = build(&at(":mistaken@"));
    assert!(matches!(error, Error::WrongPassword), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("mistaken"));
    RedisPublisher::new(at(":right@")).build().unwrap();
    let client = redis::Client::open(at(":right@")).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("reader").arg("on").arg(">secret").arg("~*").arg("+@read");
    user.arg("+command").arg("+client").query::<()>(&mut connection).unwrap();
    let error = build(&at("reader:secret@"));
    assert!(matches!(error, Error::NoPermission(_)), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[test]
fn a_permission_that_only_a_script_needs_is_named() {
    let Some(server) = Server::start(&[]) else { return };
    RedisPublisher::new(server.url()).build().unwrap();
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("worker").arg("on").arg(">secret").arg("~*").arg("+@all");
    user.arg("-hincrby").query::<()>(&mut server.connection()).unwrap();
    let worker = RedisWorker::new(format!("redis://worker:secret@127.0.0.1:{}/", server.port));
    let running = start(worker, CallbackManager::new(Threads::new()));
    wait_until("the error", || running.handle.last_error().is_some());
    let error = running.handle.last_error().unwrap();
    assert!(matches!(error, Error::NoPermission(_)), "{error:?}");
    running.stop();
}

#[test]
fn a_server_that_does_not_answer_took_too_long() {
    // It accepts the connection and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", silent.local_addr().unwrap());
    let connect = Connect::to(&url).timeout(Duration::from_millis(50));
    let error = RedisPublisher::new(connect).build().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().ends_with(": it took too long"), "{error}");
}

#[test]
fn a_missing_command_is_named() {
    let Some(server) = Server::start(&["--rename-command", "XTRIM", ""]) else { return };
    let error = build(&server.url());
    assert!(matches!(error, Error::MissingCommand { command: "XTRIM", .. }), "{error:?}");
}

#[test]
fn another_number_of_partitions() {
    let Some(server) = Server::start(&[]) else { return };
    RedisPublisher::new(server.url()).partitions(4).build().unwrap();
    RedisPublisher::new(server.url()).build().unwrap();
    let error = RedisPublisher::new(server.url()).partitions(8).build().unwrap_err();
    assert!(matches!(error, Error::Partitions { asked: 8, there: 4 }), "{error:?}");
    let worker = RedisWorker::new(server.url()).partitions(8);
    let error = worker.run(CallbackManager::new(Threads::new())).unwrap_err();
    assert!(matches!(error, Error::Partitions { .. }), "{error:?}");
}

#[test]
fn a_shutdown_says_what_was_not_published() {
    let Some(mut server) = Server::start(&["--requirepass", "right"]) else { return };
    let url = format!("redis://:right@127.0.0.1:{}/", server.port);
    let publisher = RedisPublisher::new(url).partitions(1).build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    server.kill();
    play(&callbacks, 2);
    let report = callbacks.shutdown(Duration::from_millis(500)).wait().unwrap();
    let [unfinished] = &report.unfinished[..] else { panic!("{report:?}") };
    assert!(unfinished.starts_with("6 records were not published: no answer from"), "{unfinished}");
    assert!(!unfinished.contains("right"), "{unfinished}");
    assert_eq!((handle.counts().buffered, handle.counts().published), (6, 0));
}
