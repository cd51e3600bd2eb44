//! Common mistakes do not compile, and the compiler's message names the fix.
//!
//! `TRYBUILD=overwrite cargo test -p rappel-compile-errors` records the messages anew.

#[test]
fn common_mistakes_give_a_message_that_names_the_fix() {
    trybuild::TestCases::new().compile_fail("tests/cases/*.rs");
}
