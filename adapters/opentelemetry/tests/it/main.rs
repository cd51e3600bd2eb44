//! What a user of rappel-opentelemetry would notice.

#![allow(clippy::unwrap_used, reason = "a test that fails should say where")]

mod attributes;
mod books;
mod collector;
mod docs;
mod metrics;
mod scene;
mod shutdowns;
mod tls;
mod traces_go_on;
mod wrong_settings;
