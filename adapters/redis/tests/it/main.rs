//! What users of the crate notice. The tests with a server start `redis-server`, if it is installed.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod another_broker;
mod callbacks_gone;
mod docs;
mod errors;
mod failover;
mod full_memory;
mod groups;
mod long_times;
mod scene;
#[cfg(feature = "tls")]
mod tls;
mod traces;
