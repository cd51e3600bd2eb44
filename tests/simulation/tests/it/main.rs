//! Many orders of events: emitters that await, drop and leak what they emit, nest runs, end them
//! with open children, flush, and are dropped themselves at any poll; handlers of every kind that
//! are slow, fail, panic, hang, make values that panic in `Drop`, and emit in their calls; every
//! delivery, overflow, time-out and limit; a pool of one thread or of many; a shutdown at any time.
//! In every order the promises hold.
//!
//! `SEEDS=1000000 cargo test --release -p rappel-simulation` tries a million seeds, `FROM=7` begins
//! with another one, and `SEED=7` replays one.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod actor;
mod bomb;
mod emitters;
mod held;
mod history;
mod inside;
mod model;
mod nested;
mod world;

use std::sync::Arc;

use futures_lite::future::{block_on, poll_once};

use self::bomb::defuse;
use self::emitters::{DroppedAfter, Emitter};
use self::world::{Shutdown, World};

const MOST_EMITTERS: usize = 4;
const MOST_POLLS: usize = 60;

fn simulate(seed: u64) -> Result<(), String> {
    let world = World::draw(seed);
    let simulator = world.simulator.clone();
    for number in 0..=simulator.draw(MOST_EMITTERS) {
        let emitter = Emitter::new(&world).go(format!("run {number}"));
        // Half of the emitters live to their end.
        let polls = if simulator.one_in(2) { usize::MAX } else { 1 + simulator.draw(MOST_POLLS) };
        simulator.go(DroppedAfter::new(emitter, polls));
    }
    if world.traits.shutdown != Shutdown::No {
        simulator.go(Emitter::new(&world).shut_down(world.traits.shutdown));
    }
    let tell = |world: &World, wrong: String| {
        format!("{wrong}\n{:#?}\n{:#?}\n{}", world.traits, world.plans, world.history)
    };
    let run = |world: &World| world.simulator.run().map_err(|wrong| tell(world, wrong));
    run(&world)?;
    world.let_go();
    run(&world)?;
    if !matches!(block_on(poll_once(world.callbacks.flush())), Some(Ok(()))) {
        return Err(tell(&world, "something is not handled, and nothing can handle it".into()));
    }
    model::check(&world).map_err(|wrong| tell(&world, wrong))?;
    if number("SEED").is_some() {
        eprintln!("{}", tell(&world, "it is as it should be".into()));
    }
    if world.traits.leaks {
        return Ok(());
    }
    let told = tell(&world, "a handler is left".into());
    let (simulator, actors) = world.take_down();
    simulator.run()?;
    if Arc::strong_count(&actors) > 1 {
        return Err(format!("{} of {told}", Arc::strong_count(&actors) - 1));
    }
    defuse(actors);
    Ok(())
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

fn seeds() -> std::ops::Range<u64> {
    match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let from = number("FROM").unwrap_or(0);
            from..from + number("SEEDS").unwrap_or(2_000)
        }
    }
}

#[test]
fn the_promises_hold_in_every_order() {
    let mut failed = 0;
    for seed in seeds() {
        let Err(wrong) = simulate(seed) else { continue };
        // To look at what several failures have in common.
        if std::env::var_os("ALL").is_some() {
            eprintln!("SEED={seed} {}", wrong.lines().next().unwrap_or_default());
            failed += 1;
            continue;
        }
        panic!("{wrong}\nSEED={seed} replays it");
    }
    assert_eq!(failed, 0, "so many seeds failed");
}
