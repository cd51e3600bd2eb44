//! The page says what is so.

use std::time::Duration;

use crate::scene::{Log, play, publisher, start, with, worker};
use crate::support::{Server, wait_until};

const PAGE: &str = include_str!("../../../../docs/redis.md");

#[test]
fn the_page_has_the_example_of_the_repository() {
    assert!(PAGE.contains("cargo run --example remote_handlers"));
}

#[test]
fn the_permissions_of_the_page_are_enough() {
    let Some(server) = Server::start(&[]) else { return };
    let command = PAGE.split_once("redis-cli ACL SETUSER").unwrap().1;
    let command = command.split("```").next().unwrap().replace('\\', " ").replace('\'', "");
    let mut connection = server.connection();
    let mut acl = redis::cmd("ACL");
    acl.arg("SETUSER");
    for word in command.split_whitespace() {
        acl.arg(word);
    }
    acl.query::<()>(&mut connection).unwrap();
    let url = format!("redis://rappel:password@127.0.0.1:{}/", server.port);
    let callbacks = publisher(&url);
    let log = Log::default();
    let worker = worker(&url).orphan_after(Duration::from_millis(100));
    let running = start(worker, with(&log));
    let handle = running.handle.clone();
    play(&callbacks, 3);
    callbacks.shutdown(Duration::from_secs(5)).wait().unwrap();
    wait_until("the trace", || handle.counts().whole == 1);
    running.stop();
    assert!(handle.last_error().is_none(), "{:?}", handle.last_error());
    let mut admin = rappel_redis::RedisAdmin::new(url.as_str(), "rappel").unwrap();
    assert_eq!(admin.lag("default").unwrap().len(), 4);
    admin.forget_group("default").unwrap();
}
