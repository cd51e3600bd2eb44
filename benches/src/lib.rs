//! rappel's benchmarks.
//!
//! - `cargo run --release -p rappel-benches -- report` measures all that is compared, in turn, in one run: see [`rows`] for what, [`measure`] for how,
//!   [`budget`] for what it is held to (`--check`). `--quick`, `--only NAME`, `--peers` and `--with-langchain` say how much of it.
//! - `cargo run --release -p rappel-benches --bin allocations -- --check` counts allocations and idle bytes only: what does not depend on the machine's mood.
//! - `benches/instructions` counts the instructions of the main paths, by callgrind, against recorded ones.
//! - `cargo bench -p rappel-benches` asks single hot questions under `benches/`.

pub mod budget;
pub mod count;
pub mod fit;
pub mod handlers;
pub mod host;
pub mod known;
pub mod measure;
pub mod outside;
pub mod path;
pub mod plot;
pub mod report;
pub mod rows;
pub mod run;
pub mod table;
