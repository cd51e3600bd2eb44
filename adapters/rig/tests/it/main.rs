//! Real rig agents with the hook: what a user's handlers get.
#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod cancel;
mod contained;
mod context;
mod fields;
mod memory;
mod retrieval;
mod scene;
mod smol;
mod streamed;
mod sub_agents;
mod turns;
