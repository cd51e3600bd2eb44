//! Tests for programs that use [rappel](rappel_core), callbacks for LLM applications. They run on any
//! runtime, without a network, a clock or a sleep.
//!
//! - [`Recorder`] is a handler that records its events and compares them with an expectation
//!   ([`expect`]).
//! - [`ScriptedChatModel`] gives the answers of a script, and records its requests.
//! - [`FaultyChatModel`] calls another model, and fails, hangs, breaks off or is slow by a script.
//! - [`runtime_suite!`] tests a runtime of yours.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod compare;
mod expect;
mod faulty;
mod model;
mod recorder;
mod scripted;
pub mod suite;
mod text;

pub use expect::{Expected, expect};
pub use faulty::{Fault, FaultyChatModel, Hang};
pub use recorder::{Mismatch, Recorded, Recorder};
pub use scripted::{Answer, EndOfScript, Request, ScriptedChatModel};
