//! The pages say what is so.

use std::collections::BTreeSet;

use rappel_opentelemetry::{SemConv, Settings};

use crate::attributes::names;

const PAGE: &str = include_str!("../../../../docs/opentelemetry.md");
const README: &str = include_str!("../../README.md");
const WORKSPACE: &str = include_str!("../../../../Cargo.toml");

/// The first column of the table below a heading, without its quotes.
fn column(text: &str, heading: &str) -> BTreeSet<String> {
    let section = text.split_once(&format!("{heading}\n")).expect("the heading is there").1;
    let section = section.split("\n#").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn the_table_of_attributes_has_those_of_an_agent() {
    let all = Settings::new().content(true);
    let mut real = names(all.clone());
    real.extend(names(all.semconv(SemConv::Latest)));
    let table = column(PAGE, "## Attributes");
    let missing: Vec<_> = real.difference(&table).collect();
    let invented: Vec<_> = table.difference(&real).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "missing {missing:#?}, not there {invented:#?}"
    );
}

#[test]
fn the_table_of_attributes_says_which_ones_are_contents() {
    let (without, with) = (names(Settings::new()), names(Settings::new().content(true)));
    let section = PAGE.split_once("## Attributes\n").unwrap().1;
    let rows = section.split("\n#").next().unwrap().lines();
    let marked: BTreeSet<_> = rows
        .filter(|row| row.ends_with("| content |"))
        .filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect();
    let contents: BTreeSet<_> = with.difference(&without).cloned().collect();
    assert_eq!(marked, contents);
}

#[test]
fn the_table_of_versions_is_that_of_the_manifests() {
    let version = |name: &str| {
        let line = WORKSPACE.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        let version = line.split_once("version = \"").unwrap().1;
        version.split('"').next().unwrap().to_owned()
    };
    let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let row = format!(
        "| {} | {} | {} |",
        minor(env!("CARGO_PKG_VERSION")),
        minor(&version("opentelemetry")),
        minor(&version("rappel-core")),
    );
    assert!(README.contains(&row), "the README has no row `{row}`");
    assert_eq!(version("opentelemetry"), version("opentelemetry_sdk"));
    assert_eq!(version("opentelemetry"), version("opentelemetry-otlp"));
}
