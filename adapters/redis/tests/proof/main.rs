//! Publishers, workers and a Redis, each a process, which are killed, stopped, cut off and filled
//! while 2,000 traces of 30 events go through. In the end the books must balance.
//!
//! `adapters/redis/scripts/proof` runs it, ten times or larger. `cargo test --test proof` runs it once.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod books;
mod faults;
mod proxy;
mod roles;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::books::{Balance, balance};
use crate::faults::{Fleet, Plan};
use crate::support::Server;

/// What is asked for: `--traces 2000 --seed 7 --fsync everysec`.
#[derive(Debug, Clone)]
struct Arguments {
    traces: usize,
    seed: u64,
    fsync: String,
}

fn arguments() -> Arguments {
    let mut arguments =
        Arguments { traces: 2000, seed: fastrand::u64(..1 << 32), fsync: "always".into() };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || given.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            "--traces" => arguments.traces = value().parse().expect("a number of traces"),
            "--seed" => arguments.seed = value().parse().expect("a seed"),
            "--fsync" => arguments.fsync = value(),
            // What `cargo test` passes on.
            _ => {}
        }
    }
    arguments
}

fn main() {
    let mut given = std::env::args().skip(1);
    match given.next().as_deref() {
        Some("publish") => return roles::publish(&given.collect::<Vec<_>>()),
        Some("work") => return roles::work(&given.collect::<Vec<_>>()),
        _ => {}
    }
    let arguments = arguments();
    let began = Instant::now();
    println!("{arguments:?}");
    let fsync = ["--appendonly", "yes", "--appendfsync", &arguments.fsync];
    let Some(server) = Server::start(&fsync) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let files = directory.path().to_owned();
    let mut fleet = Fleet::start(server, files.clone(), arguments.traces, arguments.seed);
    fleet.run(&Plan::draw(arguments.traces, arguments.seed));
    let drained = fleet.drain(Duration::from_secs(120));
    let outcome = fleet.stop();
    let balance = balance(&files);
    println!("{balance}");
    println!("{outcome}; {:.1} s", began.elapsed().as_secs_f64());
    let strict = arguments.fsync == "always";
    let wrong = wrong(&balance, drained, strict);
    if !wrong.is_empty() {
        let kept: PathBuf = directory.keep();
        wrong.iter().for_each(|wrong| println!("WRONG: {wrong}"));
        println!("the files are in {}", kept.display());
        std::process::exit(1);
    }
    if !strict {
        // The server may lose what it has acknowledged.
        balance.unbalanced.iter().for_each(|lost| println!("lost with the server: {lost}"));
        return;
    }
    println!("the books balance");
}

/// What is not as it must be. Without `strict`, acknowledged records may be lost with the server.
fn wrong(balance: &Balance, drained: bool, strict: bool) -> Vec<String> {
    let mut wrong = balance.out_of_order.clone();
    if !drained {
        wrong.push("the groups do not come to the end of the streams: something hangs".into());
    }
    if strict {
        wrong.extend(balance.missing.iter().take(10).cloned());
        wrong.extend(balance.unbalanced.iter().cloned());
    }
    wrong
}
