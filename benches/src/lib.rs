//! rappel's benchmarks.
//!
//! `cargo run --release -p rappel-benches -- report` measures all that is compared, side by side, in one run: see [`rows`]. `cargo bench -p rappel-benches`
//! asks single hot questions under `benches/`.

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
