//! The events of MCP tool calls, with servers of rmcp and of another project.

mod calls;
mod cancelled;
mod docs;
mod everything;
mod progress;
mod rounds;
mod stopped;
mod support;
mod traces;
