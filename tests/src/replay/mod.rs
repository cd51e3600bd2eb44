//! Replays *callback programs*: the cases of `tests/conformance`, and all else that is written in their format.
//!
//! [`Program::read`] checks a program as a whole: it resolves every alias to a run of the right kind, and builds every payload. So
//! [`Program::play`] has nothing left to refuse. It drives a manager by rappel's public API, with handlers that write down what they see.
//!
//! The format and its rules: `tests/conformance/README.md`.

mod error;
mod fields;
mod log;
mod names;
mod play;
mod program;
mod read;
mod recorder;
mod vocabulary;

pub use error::ReadError;
pub use log::{Entry, StepLog};
pub use program::Program;
