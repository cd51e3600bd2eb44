//! rappel's benchmarks.
//!
//! - `cargo run --release -p rappel-benches -- report` measures everything in one run, in turn: see
//!   [`rows`] for what, [`measure`] for how, [`budget`] for the limits. `--check` fails with each
//!   limit that is missed; `--quick`, `--only NAME`, `--peers`, `--version1` and `--with-langchain`
//!   choose what to measure.
//! - `cargo run --release -p rappel-benches --bin allocations -- --check` counts allocations and
//!   the bytes of idle things only: they do not depend on the load of the machine.
//! - `benches/instructions` counts the instructions of the main paths with callgrind, and compares
//!   them with the limits and the recorded counts in `instructions.toml`. `benches/profile` shows
//!   which functions they are spent in.
//! - `benches/peers` does the same work with other libraries, `benches/version1` with version 1 of
//!   this one.
//! - `cargo bench -p rappel-benches` runs the criterion benches under `benches/`.

pub mod budget;
pub mod count;
pub mod fit;
pub mod handlers;
pub mod host;
pub mod known;
mod many;
pub mod measure;
pub mod outside;
pub mod path;
pub mod plot;
pub mod report;
pub mod rows;
pub mod run;
pub mod table;
