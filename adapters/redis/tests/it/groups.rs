//! Groups, their positions, and what is trimmed.

use std::time::Duration;

use rappel_redis::{RedisAdmin, RedisPublisher};
use rappel_threads::json;
use rappel_threads::prelude::*;

use crate::scene::{Log, play, publisher, start, with, worker};
use crate::support::{Server, wait_until};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn each_group_gets_all_traces_and_the_slowest_one_keeps_them() {
    let Some(server) = Server::start(&["--stream-node-max-entries", "10"]) else { return };
    let callbacks = publisher(&server.url());
    let (billing, storage) = (Log::default(), Log::default());
    let first = start(worker(&server.url()).group("billing"), with(&billing));
    let second = start(worker(&server.url()).group("storage"), with(&storage));
    wait_until("the partitions", || second.handle.counts().taken == 4);
    wait_until("the partitions", || first.handle.counts().taken == 4);
    second.stop();
    for _ in 0..50 {
        play(&callbacks, 4);
    }
    wait_until("the traces", || first.handle.counts().whole == 50);
    let mut admin = RedisAdmin::new(server.url(), "rappel").unwrap();
    let mut sum = |group: &str, of: fn(&rappel_redis::Lag) -> u64| {
        admin.lag(group).unwrap().iter().map(of).sum::<u64>()
    };
    wait_until("the position", || sum("billing", |lag| lag.behind) == 0);
    assert_eq!(sum("storage", |lag| lag.behind), 400, "nothing is trimmed before it");
    let second = start(worker(&server.url()).group("storage"), with(&storage));
    wait_until("the traces", || second.handle.counts().whole == 50);
    assert_eq!(storage.by_run(), billing.by_run());
    wait_until("the trimming", || sum("storage", |lag| lag.entries) < 100);
    second.stop();
    // A group that is gone keeps what comes, until it is forgotten.
    for _ in 0..50 {
        play(&callbacks, 4);
    }
    wait_until("the traces", || first.handle.counts().whole == 100);
    assert!(sum("billing", |lag| lag.entries) >= 400);
    RedisAdmin::new(server.url(), "rappel").unwrap().forget_group("storage").unwrap();
    for _ in 0..8 {
        play(&callbacks, 4);
    }
    wait_until("the trimming", || sum("billing", |lag| lag.entries) < 164);
    first.stop();
    callbacks.shutdown(SECOND).wait().unwrap();
}

#[test]
fn a_hard_cap_cuts_counts_and_makes_traces_incomplete() {
    let Some(server) = Server::start(&["--stream-node-max-entries", "10"]) else { return };
    let log = Log::default();
    // A group that is away.
    let away = start(worker(&server.url()).partitions(1), with(&log));
    wait_until("the partition", || away.handle.counts().taken == 1);
    away.stop();
    let publisher = RedisPublisher::new(server.url()).hard_cap(40).build().unwrap();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    let mut long = callbacks.on_chain_start(ChainStart::new("long", json!(1))).wait().unwrap();
    callbacks.flush().wait().unwrap();
    for _ in 0..30 {
        play(&callbacks, 4);
    }
    long.on_text("more").wait().unwrap();
    long.end(json!(2)).wait().unwrap();
    callbacks.shutdown(10 * SECOND).wait().unwrap();
    let lag = RedisAdmin::new(server.url(), "rappel").unwrap().lag("default").unwrap().remove(0);
    assert!(lag.cut >= 190 && lag.entries <= 60, "{lag:?}");
    let running = start(worker(&server.url()), with(&log));
    wait_until("the rest", || {
        let counts = running.handle.counts();
        counts.whole >= 4 && counts.incomplete >= 1
    });
    running.stop();
    let whole = log.root_ends().iter().filter(|end| end.error.is_none()).count();
    assert_eq!(
        log.root_ends().len(),
        whole,
        "of a trace without its beginning nothing is handed out"
    );
}

#[test]
fn workers_of_a_group_share_the_partitions() {
    let Some(server) = Server::start(&[]) else { return };
    let callbacks = publisher(&server.url());
    let log = Log::default();
    let owners = || {
        let lag = RedisAdmin::new(server.url(), "rappel").unwrap().lag("default").unwrap();
        let mut owners: Vec<_> = lag.into_iter().filter_map(|lag| lag.owner).collect();
        let all = owners.len();
        owners.sort();
        let first = owners.first().cloned();
        let of_first = owners.iter().filter(|owner| Some(*owner) == first.as_ref()).count();
        (all, of_first)
    };
    let first = start(worker(&server.url()), with(&log));
    wait_until("all of them", || owners() == (4, 4));
    let second = start(worker(&server.url()), with(&log));
    wait_until("half of them", || owners() == (4, 2));
    for _ in 0..40 {
        play(&callbacks, 1);
    }
    let whole = || first.handle.counts().whole + second.handle.counts().whole;
    wait_until("the traces", || whole() == 40);
    first.stop();
    wait_until("all of them again", || owners() == (4, 4));
    second.stop();
    callbacks.shutdown(SECOND).wait().unwrap();
}

#[test]
fn how_far_a_group_is_behind_is_counted_without_reading_the_records() {
    let Some(server) = Server::start(&["--stream-node-max-entries", "10"]) else { return };
    let publisher = RedisPublisher::new(server.url()).partitions(1).build().unwrap();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    let emit = |traces: usize| {
        let large = json!("x".repeat(10_000));
        for _ in 0..traces {
            let start = ChainStart::new("large", large.clone());
            callbacks.on_chain_start(start).wait().unwrap().end(json!(1)).wait().unwrap();
        }
    };
    let mut admin = RedisAdmin::new(server.url(), "rappel").unwrap();
    let mut lag = |group: &str| admin.lag(group).unwrap().remove(0);
    let log = Log::default();
    // `slow` has stopped after 5 traces, `middle` after 300 more, and `fast` has handled all.
    let mut groups = Vec::new();
    for (group, more) in [("slow", 5), ("middle", 300), ("fast", 400)] {
        emit(more);
        let running = start(worker(&server.url()).group(group), with(&log));
        groups.push((group, running));
        wait_until("the traces", || {
            groups.iter().all(|(group, _)| {
                let lag = lag(group);
                lag.entries > 0 && lag.behind == 0 && lag.oldest_ms == 0
            })
        });
        if group != "fast" {
            groups.pop().unwrap().1.stop();
        }
    }
    let mut connection = server.connection();
    let mut sent = || {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
        let (_, rest) = info.split_once("total_net_output_bytes:").unwrap();
        rest.lines().next().unwrap().trim().parse::<u64>().unwrap()
    };
    let before = sent();
    assert_eq!(lag("slow").behind, 1400);
    assert_eq!(lag("middle").behind, 800);
    assert_eq!(lag("fast").behind, 0);
    let unknown = lag("unknown");
    assert!(unknown.behind == unknown.entries && unknown.entries >= 1400, "{unknown:?}");
    assert!(sent() - before < 500_000, "the records have 7 MB");
    for (_, running) in groups {
        running.stop();
    }
    callbacks.shutdown(SECOND).wait().unwrap();
}
