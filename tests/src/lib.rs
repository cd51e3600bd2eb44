//! Tests of rappel: every body runs on every runtime.

pub mod held;
pub mod mutations;
pub mod openai_server;
pub mod record;
pub mod replay;
pub mod runtimes;
pub mod virtual_time;
pub mod wire;

pub use rappel_testkit::runtime_suite;
