//! The page says what is so.

const PAGE: &str = include_str!("../../../../docs/redis.md");

#[test]
fn the_page_has_the_example_of_the_repository() {
    assert!(PAGE.contains("cargo run --example remote_handlers"));
}
