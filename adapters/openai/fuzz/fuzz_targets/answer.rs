//! `cargo +nightly fuzz run answer`, in this directory.
#![no_main]

mod feed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| feed::feed(data));
