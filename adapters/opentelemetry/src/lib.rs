//! Runs of LLM applications as OpenTelemetry spans and metrics, in the tools that people watch:
//! Phoenix, Langfuse, Grafana, Jaeger.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rappel_smol::prelude::*;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let telemetry = rappel_opentelemetry::otlp().service_name("my-agent").build()?;
//!     let callbacks = telemetry.register(CallbackManager::new(Smol::global()));
//!     smol::block_on(async {
//!         let mut run = callbacks.on_llm_start(LlmStart::new("my-model", "A joke?")).await?;
//!         run.on_llm_new_token("Why not?").await?;
//!         run.end("Why not?").await?;
//!         let report = callbacks.shutdown(Duration::from_secs(5)).await?;
//!         println!("{}; not sent: {:?}", telemetry.counts(), report.unfinished);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! - [`otlp`] sends spans to a collector. One line, from any runtime.
//! - [`OpenTelemetry`] is the handler, for a provider and an exporter of your own.
//! - [`Settings`] choose the conventions, and whether spans have contents.
//! - [`RunTraceParent`] takes a trace to another process.
//!
//! # Features
//! | feature | what it adds |
//! |---|---|
//! | `otlp` (default) | [`otlp`]: the exporter over HTTP, with TLS by rustls and ring |
//!
//! # Versions
//! This crate has its own version line: a breaking release of `opentelemetry` or of `rappel-core` is
//! a new minor version. The README has a table. [`opentelemetry`] and [`opentelemetry_sdk`] are
//! re-exported.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod attributes;
mod content;
mod handler;
mod ids;
mod metrics;
mod names;
#[cfg(feature = "otlp")]
mod otlp;
mod settings;
mod traceparent;

pub use handler::OpenTelemetry;
pub use ids::{RunIds, span_id, trace_id};
pub use metrics::observe_handlers;
pub use opentelemetry;
pub use opentelemetry_sdk;
#[cfg(feature = "otlp")]
pub use otlp::{BuildError, ExportError, Otlp, OtlpBuilder, SpanCounts, otlp};
pub use settings::{SemConv, Settings};
pub use traceparent::RunTraceParent;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "otlp"))]
#[doc = include_str!("../../../docs/opentelemetry.md")]
struct Page;
