#![doc = include_str!("../README.md")]
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
