//! Tests of what uses [rappel](rappel_core), callbacks for LLM applications.
//!
//! - [`runtime_suite!`] holds a runtime of your own to what rappel asks of it.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod suite;
