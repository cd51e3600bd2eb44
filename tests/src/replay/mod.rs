//! Replays *callback programs*: the cases of `tests/conformance`, and other programs in their
//! format.
//!
//! [`Program::read`] checks a program as a whole: it resolves every alias to a run of the right
//! kind, and builds every payload. So [`Program::play`] cannot fail. It drives a manager by
//! rappel's public API, with handlers that log their calls.
//!
//! `tests/conformance/README.md` describes the format and its rules.

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
