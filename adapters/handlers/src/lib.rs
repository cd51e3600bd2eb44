#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod budget;
mod call;
mod collector;
mod console;
mod filter;
mod final_answer;
mod gate;
mod json_lines;
mod per_trace;
mod prices;
#[cfg(feature = "progress")]
mod progress;
mod redact;
mod register;
mod sample;
mod streaming_stdout;
mod traces;
mod usage;

pub use budget::{Budget, BudgetError, Spent};
pub use collector::{CollectedRun, CollectedTrace, Collector};
pub use console::Console;
pub use filter::Filter;
pub use final_answer::FinalAnswer;
pub use gate::Gate;
pub use json_lines::{JsonLines, JsonLinesError, ReadError, Records};
pub use per_trace::PerTrace;
pub use prices::{Price, Prices, Tokens};
#[cfg(feature = "progress")]
#[cfg_attr(docsrs, doc(cfg(feature = "progress")))]
pub use progress::{AboveBars, Progress};
pub use redact::{PatternError, Redact};
pub use register::{Register, Suited, With};
pub use sample::{GivenUp, Sample};
pub use streaming_stdout::StreamingStdout;
pub use usage::{ModelUsage, Usage, UsageReport};
