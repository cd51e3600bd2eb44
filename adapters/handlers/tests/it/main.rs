//! What the handlers do, on tokio, smol and plain threads.

#![allow(clippy::unwrap_used, reason = "tests")]

mod budgets;
mod choosing;
mod collected;
mod console;
mod final_answers;
mod gates;
mod json_lines;
mod one_liners;
#[cfg(unix)]
mod output_that_fails;
#[cfg(feature = "progress")]
mod progress;
mod redacted;
mod support;
mod usage;
