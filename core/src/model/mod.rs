//! Plain data: messages, results, runs, events and errors.

pub(crate) mod context;
pub(crate) mod document;
pub(crate) mod emitter;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod message;
#[cfg(feature = "serde")]
pub(crate) mod record;
pub(crate) mod result;
pub(crate) mod run_info;
pub(crate) mod token;
pub(crate) mod traceparent;
