//! A publisher and a worker over another broker: that in memory.

use std::thread;
use std::time::Duration;

use rappel_redis::{Broker as _, MemoryStore, RedisPublisher, RedisWorker};
use rappel_threads::prelude::*;

use crate::scene::{Log, play};
use crate::support::wait_until;

#[test]
fn publishers_and_workers_need_no_redis() {
    let store = MemoryStore::new();
    // The address is not used.
    let publisher = RedisPublisher::new("").over(2, store.broker(""));
    let (here, there) = (Log::default(), Log::default());
    let callbacks =
        publisher.register(CallbackManager::new(Threads::new())).with_handler(here.handler());
    let worker = RedisWorker::new("").lease(Duration::from_millis(500));
    let (handle, of_worker) = (worker.handle(), store.clone());
    let manager = CallbackManager::new(Threads::new()).with_handler(there.handler());
    let running = thread::spawn(move || {
        worker.over(2, move || Ok(Box::new(of_worker.broker("billing"))), manager).unwrap()
    });
    for _ in 0..10 {
        play(&callbacks, 3);
    }
    callbacks.shutdown(Duration::from_secs(5)).wait().unwrap();
    wait_until("the traces", || handle.counts().whole == 10);
    handle.stop();
    assert_eq!(running.join().unwrap().records, 70);
    assert_eq!(there.by_run(), here.by_run());
    assert!(store.dead_letters("billing", 0).is_empty());
}

#[test]
fn a_worker_may_take_its_partition_again_and_another_may_not() {
    let second = Duration::from_secs(1);
    let store = MemoryStore::with_clock(|| 1);
    let mut broker = store.broker("billing");
    let mut take = |owner: &str| broker.take(0, owner, second).unwrap().map(|taken| taken.epoch);
    assert_eq!(take("one"), Some(1));
    assert_eq!(take("two"), None);
    // The answer of the first call may have been lost.
    assert_eq!(take("one"), Some(2));
    assert!(broker.renew(0, 1, second).unwrap().is_none());
    assert!(broker.renew(0, 2, second).unwrap().is_some());
}
