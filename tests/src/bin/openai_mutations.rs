//! Reads recorded answers that are changed at random: see `rappel_tests::mutations`.
//!
//! `cargo run --release -p rappel-tests --bin openai_mutations -- --inputs 1000000 --seed 1`

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;

#[derive(Parser)]
struct Options {
    /// The number of inputs.
    #[arg(long, default_value_t = 20_000)]
    inputs: u64,
    /// The seed of the random inputs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of the first input.
    #[arg(long, default_value_t = 0)]
    first: u64,
}

/// An input that takes longer than this hangs.
const HUNG: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let Options { inputs, seed, first } = Options::parse();
    let current = Arc::new(AtomicU64::new(first));
    let watched = current.clone();
    thread::spawn(move || {
        loop {
            let before = watched.load(Ordering::Relaxed);
            thread::sleep(HUNG);
            if watched.load(Ordering::Relaxed) == before {
                eprintln!("seed {seed}, input {before}: no end after {HUNG:?}");
                std::process::exit(1);
            }
        }
    });
    let start = Instant::now();
    rappel_tests::mutations::run(seed, first..first + inputs, |input| {
        current.store(input, Ordering::Relaxed);
    });
    let seconds = start.elapsed().as_secs();
    println!(
        "openai mutations: {inputs} inputs of seed {seed} in {seconds} s: no panic, no hang, no difference between packets, no key"
    );
    ExitCode::SUCCESS
}
