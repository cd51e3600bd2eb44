#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod client;
mod convert;
mod error;
mod progress;
mod transport;

pub use client::{CallbackClient, ServeWithCallbacks};
pub use error::CallToolError;
pub use rmcp;
