//! `Duration::MAX` means "as long as it takes".

use std::time::Duration;

use rappel_redis::RedisPublisher;
use rappel_threads::prelude::*;

use crate::scene::{Log, play, publisher, start, with, worker};
use crate::support::{Server, wait_until};

#[test]
fn a_shutdown_without_a_deadline_sends_the_records() {
    let Some(server) = Server::start(&[]) else { return };
    let callbacks = publisher(&server.url());
    play(&callbacks, 3);
    let report = callbacks.shutdown(Duration::MAX).wait().unwrap();
    assert_eq!(report.unfinished, [""; 0]);
}

#[test]
fn a_flush_without_a_deadline_sends_the_records() {
    let Some(server) = Server::start(&[]) else { return };
    let publisher = RedisPublisher::new(server.url()).partitions(4).build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    play(&callbacks, 3);
    callbacks.flush().wait().unwrap();
    assert_eq!(handle.flush(Duration::MAX), 0);
    assert_eq!(handle.counts().published, 7);
}

#[test]
fn an_event_that_may_wait_for_room_without_a_limit_is_not_lost() {
    let Some(server) = Server::start(&[]) else { return };
    let publisher = RedisPublisher::new(server.url()).partitions(1).buffer(1, usize::MAX);
    let publisher = publisher.wait_for_room(Duration::MAX).build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    play(&callbacks, 20);
    callbacks.shutdown(Duration::from_secs(30)).wait().unwrap();
    assert_eq!((handle.counts().published, handle.counts().refused_records), (24, 0));
    assert_eq!(callbacks.stats().iter().map(|stats| stats.failed).sum::<usize>(), 0);
}

#[test]
fn a_worker_without_time_limits_hands_its_open_traces_over_when_it_is_stopped() {
    let Some(server) = Server::start(&[]) else { return };
    let log = Log::default();
    let worker = worker(&server.url())
        .handler_timeout(Duration::MAX)
        .orphan_after(Duration::MAX)
        .max_trace_age(Duration::MAX);
    let running = start(worker, with(&log));
    let callbacks = publisher(&server.url());
    let open = callbacks.on_chain_start(ChainStart::new("open", "in")).wait().unwrap();
    wait_until("the start", || log.all().len() == 1);
    let counts = running.stop();
    assert_eq!((counts.handed_over, counts.timed_out), (1, 0));
    assert_eq!(log.root_ends()[0].error.as_deref(), Some("handed_over"));
    open.end("out").wait().unwrap();
    callbacks.shutdown(Duration::from_secs(10)).wait().unwrap();
}
