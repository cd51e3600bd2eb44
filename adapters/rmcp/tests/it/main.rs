//! The events of MCP tool calls, with servers of rmcp and of another project.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod calls;
mod cancelled;
mod docs;
mod everything;
mod progress;
mod rounds;
mod stopped;
mod support;
mod traces;
