//! Replays the corpus of the fuzzer. No input makes the client panic, or depend on the packets'
//! borders.

use std::fs;
use std::path::Path;

#[path = "../../../adapters/openai/fuzz/fuzz_targets/feed.rs"]
mod feed;

#[test]
fn every_input_is_read_the_same_in_packets_of_every_size() {
    let corpus =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/openai/fuzz/corpus/answer");
    let mut inputs = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let mut input = fs::read(entry.unwrap().path()).unwrap();
        inputs += 1;
        for packet in [0, 1, 2, 3, 5, 16, 64, 127] {
            input[0] = (packet << 1) | (input[0] & 1);
            feed::feed(&input);
        }
    }
    assert!(inputs >= 20, "the corpus has {inputs} inputs");
}

/// `.ci/run` reads 20,000 of them, and `.ci/long` a million.
#[test]
fn answers_that_are_changed_at_random_are_read_the_same_in_packets_of_every_size() {
    rappel_tests::mutations::run(7, 0..500, |_| {});
}
