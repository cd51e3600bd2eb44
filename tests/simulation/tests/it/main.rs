//! Many orders of events: emitters that await, drop and leak what they emit, flush, and are dropped themselves at any poll; handlers of every kind, that
//! are slow, fail, panic, hang, and emit themselves; every delivery, overflow, time-out and limit; a pool of one thread, or of many; a shutdown at any time.
//! Whatever the order, the promises hold.
//!
//! `SEEDS=1000000 cargo test --release -p rappel-simulation` tries a million of them; `SEED=7` replays one.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod emitters;
mod history;
mod model;
mod world;

use std::time::Duration;

use futures_lite::future::{block_on, poll_once, yield_now};
use rappel_core::prelude::*;
use rappel_core::{EmitError, json};
use rappel_simulation::Simulator;

use self::emitters::{DroppedAfter, Emitter};
use self::world::World;

const MOST_EMITTERS: usize = 4;
const MOST_POLLS: usize = 60;

fn simulate(seed: u64) -> Result<(), String> {
    // The first draw of the seed itself.
    let threads = if seed % 3 == 0 { 1 } else { 8 };
    let simulator = Simulator::new(seed, threads);
    let world = World::draw(&simulator);
    for number in 0..=simulator.draw(MOST_EMITTERS) {
        let emitter = Emitter::new(&world).go(format!("run {number}"));
        // Half of the emitters live to their end.
        let polls = if simulator.one_in(2) {
            usize::MAX
        } else {
            1 + simulator.draw(MOST_POLLS)
        };
        simulator.go(DroppedAfter::new(emitter, polls));
    }
    if simulator.one_in(4) {
        simulator.go(shut_down(&world));
    }
    simulator
        .run()
        .map_err(|wrong| format!("{wrong}\n{:#?}\n{}", world.plans, world.history))?;
    if block_on(poll_once(world.callbacks.flush())).is_none() {
        return Err("something is not handled, and nobody is left to do so".into());
    }
    model::check(&world.history, &world.plans, &world.callbacks.stats())
}

/// Shuts it all down at some time; what was accepted is handled then, and nothing is accepted any more.
fn shut_down(world: &World) -> impl Future<Output = ()> + Send + use<> {
    let (simulator, callbacks) = (world.simulator.clone(), world.callbacks.clone());
    let (history, plans) = (world.history.clone(), world.plans.clone());
    async move {
        for _ in 0..simulator.draw(50) {
            yield_now().await;
        }
        // In the one nothing is too late, in the other perhaps everything.
        let deadline = Duration::from_millis(if simulator.one_in(2) { 100_000 } else { simulator.draw(20) as u64 });
        let report = callbacks.shutdown(deadline).await;
        let delivered = report.handlers.iter().all(|stats| stats.pending == 0);
        let accepted = history.books().accepted.clone();
        if deadline > Duration::from_secs(1) && (!delivered || report.closed_runs > 0) {
            history.wrong(format!("there was time enough, and that is the report: {report:?}"));
        }
        if delivered {
            for (number, plan) in plans.iter().enumerate() {
                model::all_handled(&history, number, plan, &accepted, "a shutdown");
            }
        }
        let late = callbacks.on_chain_start(ChainStart::new("late", json!(0))).await;
        if !late.is_err_and(|error| matches!(error.error(), EmitError::ShutDown)) {
            history.wrong("a run has started after the shutdown");
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

/// The one seed to replay, and to tell about.
fn replaying() -> Option<u64> {
    number("SEED")
}

#[test]
fn the_promises_hold_in_every_order() {
    let seeds = match replaying() {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(2_000),
    };
    for seed in seeds {
        if let Err(wrong) = simulate(seed) {
            panic!("{wrong}\nSEED={seed} replays it");
        }
    }
}
