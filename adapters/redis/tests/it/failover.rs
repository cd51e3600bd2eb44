//! The address of Redis leads to another server from some moment on, as it does after a fail-over with DNS or
//! a proxy. The old server lives on as a replica, and does not close its connections.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use rappel_redis::RedisPublisher;
use rappel_threads::prelude::*;

use crate::scene::{Log, play, start, with, worker};
use crate::support::{Server, wait_until};

/// Passes each new connection on to a server.
struct Address {
    port: u16,
    leads_to: Arc<AtomicU16>,
}

impl Address {
    fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let leads_to = Arc::new(AtomicU16::new(server.port));
        let target = leads_to.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", target.load(Ordering::Acquire)))
                else {
                    continue;
                };
                for (mut from, mut to) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                {
                    thread::spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { port, leads_to }
    }
}

fn replicate(server: &Server, of: Option<&Server>) {
    let mut replicate = redis::cmd("REPLICAOF");
    match of {
        Some(of) => replicate.arg("127.0.0.1").arg(of.port),
        None => replicate.arg("NO").arg("ONE"),
    };
    replicate.query::<()>(&mut server.connection()).unwrap();
}

#[test]
fn publishers_and_workers_follow_the_address_when_the_old_server_becomes_a_replica() {
    let quick = ["--repl-diskless-sync-delay", "0"];
    let (Some(old), Some(new)) = (Server::start(&quick), Server::start(&quick)) else { return };
    let address = Address::of(&old);
    let url = format!("redis://127.0.0.1:{}/", address.port);
    let publisher = RedisPublisher::new(url.as_str()).partitions(2).build().unwrap();
    let handle = publisher.handle();
    let callbacks = publisher.register(CallbackManager::new(Threads::new()));
    let log = Log::default();
    let running = start(worker(&url), with(&log));
    play(&callbacks, 2);
    wait_until("the first trace", || log.root_ends().len() == 1);

    replicate(&new, Some(&old));
    wait_until("the copy", || {
        let info: String =
            redis::cmd("INFO").arg("replication").query(&mut new.connection()).unwrap();
        info.contains("master_link_status:up")
    });
    replicate(&new, None);
    address.leads_to.store(new.port, Ordering::Release);
    replicate(&old, Some(&new));

    play(&callbacks, 2);
    wait_until("the second trace is published", || handle.counts().published == 12);
    wait_until("the second trace", || log.root_ends().len() == 2);
    callbacks.shutdown(Duration::from_secs(5)).wait().unwrap();
    running.stop();
}
