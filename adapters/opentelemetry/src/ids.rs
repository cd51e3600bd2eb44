//! Ids of traces and spans, as a function of the ids of runs.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use rappel_core::RunId;

/// Returns the id of the trace that begins with the run `root`.
///
/// The first half is the first half of the run's id. The second half is mixed, because samplers
/// expect random bits there and a UUID has fixed ones. Different runs have different traces.
#[must_use]
pub fn trace_id(root: RunId) -> TraceId {
    let (high, low) = halves(root);
    // An id of zeros is invalid. The run's id is then zero, too.
    let id = u128::from(high) << 64 | u128::from(mix(low));
    TraceId::from(id.max(1))
}

/// Returns the id of the span of `run`.
#[must_use]
pub fn span_id(run: RunId) -> SpanId {
    let (high, low) = halves(run);
    SpanId::from(mix(high ^ mix(low)).max(1))
}

fn halves(run: RunId) -> (u64, u64) {
    let id = u128::from_be_bytes(*run.as_bytes());
    ((id >> 64) as u64, id as u64)
}

/// The finalizer of SplitMix64: <https://prng.di.unimi.it/splitmix64.c>. It loses nothing.
const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

thread_local! {
    /// The ids of the span that is being built on this thread.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// An [`IdGenerator`] that gives spans of runs the ids [`trace_id`] and [`span_id`], and other spans
/// random ones.
///
/// `otlp()` installs it. With a provider of your own, pass it to
/// `SdkTracerProvider::builder().with_id_generator`: then the ids of a run exist before any handler
/// ran, and a replay has the ids of the recorded runs.
#[derive(Debug, Clone, Default)]
pub struct RunIds {
    random: RandomIdGenerator,
}

impl RunIds {
    /// Makes the generator.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl IdGenerator for RunIds {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.random.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.random.new_span_id(), |(_, span)| span)
    }
}

/// Calls `build`, in which the next span gets the ids of the run.
pub(crate) fn with_ids<T>(root: RunId, run: RunId, build: impl FnOnce() -> T) -> T {
    struct Reset(Option<(TraceId, SpanId)>);
    impl Drop for Reset {
        fn drop(&mut self) {
            NEXT.set(self.0);
        }
    }
    let _reset = Reset(NEXT.replace(Some((trace_id(root), span_id(run)))));
    build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> RunId {
        text.parse().expect("a uuid")
    }

    // Other processes compute the same ids, in other versions of this crate, too.
    #[test]
    fn the_ids_of_a_run_never_change() {
        let run = id("01a205a1-6396-7d4e-9c3b-5f1e2a7b8c9d");
        assert_eq!(trace_id(run).to_string(), "01a205a163967d4eeed8be341b84819e");
        assert_eq!(span_id(run).to_string(), "08736ba41ce77557");
    }

    #[test]
    fn no_id_is_invalid() {
        let zero = RunId::from_bytes([0; 16]);
        assert_ne!(trace_id(zero), TraceId::INVALID);
        assert_ne!(span_id(zero), SpanId::INVALID);
    }

    #[test]
    fn the_bits_that_samplers_look_at_are_spread_evenly() {
        let mut below_a_tenth = 0;
        for n in 0..10_000_u32 {
            let mut random = [0; 10];
            random[6..].copy_from_slice(&n.to_be_bytes());
            let trace = trace_id(RunId::v7(std::time::Duration::from_secs(1), random));
            let low = u128::from_be_bytes(trace.to_bytes()) as u64;
            below_a_tenth += u32::from(low < u64::MAX / 10);
        }
        assert!((900..1100).contains(&below_a_tenth), "{below_a_tenth}");
    }

    #[test]
    fn a_span_that_is_no_run_has_random_ids() {
        let ids = RunIds::new();
        let run = id("01a205a1-6396-7d4e-9c3b-5f1e2a7b8c9d");
        with_ids(run, run, || assert_eq!(ids.new_span_id(), span_id(run)));
        assert_ne!(ids.new_span_id(), span_id(run));
        assert_ne!(ids.new_span_id(), ids.new_span_id());
    }
}
