//! Runs of LLM applications as [`tracing`] spans.
//!
//! - [`Spans`] is a handler that makes a span of each run.
//! - [`EmitterSpan`] carries the emitter's span to the calls of all handlers.
//!
//! ```
//! use rappel_core::{Awaited, CallbackManager};
//! use rappel_tracing::{EmitterSpan, Spans};
//!
//! # fn example(callbacks: CallbackManager) {
//! let callbacks = callbacks
//!     .with_emitter_context(EmitterSpan)
//!     .with_handler_options(Spans::new(), Awaited::new().inline());
//! # let _ = callbacks;
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod emitter;
mod fields;
mod spans;

pub use emitter::EmitterSpan;
pub use spans::Spans;
