#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod emitter;
mod fields;
mod spans;

pub use emitter::EmitterSpan;
pub use spans::Spans;
