//! Tests of rappel: every body runs on every runtime.

pub mod record;
pub mod runtimes;
