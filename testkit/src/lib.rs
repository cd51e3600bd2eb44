//! Tests of what uses [rappel](rappel_core), callbacks for LLM applications: on any runtime, without a network, a clock or a sleep.
//!
//! - [`Recorder`] is a handler that writes down what it hears, and compares it with an expectation, a value made with [`expect`].
//! - [`ScriptedChatModel`] answers as it is told, and keeps what it was asked.
//! - [`FaultyChatModel`] asks another model, and fails, hangs, breaks off or is slow where it is told.
//! - [`runtime_suite!`] holds a runtime of your own to what rappel asks of it.

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
