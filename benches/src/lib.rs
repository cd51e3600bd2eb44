//! rappel's benchmarks: `cargo bench -p rappel-benches`.
//!
//! Each stands under `benches/`, one for a hot question.
