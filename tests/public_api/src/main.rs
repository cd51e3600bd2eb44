//! Prints the public API of a crate from the JSON that rustdoc writes: a line for each item.
//!
//! usage: rappel-public-api CRATE.json

use std::collections::HashSet;
use std::process::ExitCode;

use public_api::Builder;

fn main() -> ExitCode {
    let Some(json) = std::env::args_os().nth(1) else {
        eprintln!("usage: rappel-public-api CRATE.json");
        return ExitCode::from(2);
    };
    // Auto traits are asserted in tests/tests/it/auto_traits.rs.
    let builder = Builder::from_rustdoc_json(&json).omit_blanket_impls(true);
    match builder.omit_auto_trait_impls(true).build() {
        Ok(api) => {
            // What is exported under two paths has some items twice.
            let mut seen = HashSet::new();
            let lines = api.items().map(ToString::to_string);
            lines.filter(|line| seen.insert(line.clone())).for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}: {error}", json.display());
            ExitCode::FAILURE
        }
    }
}
