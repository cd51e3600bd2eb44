//! The pages say what is so.

const MANIFEST: &str = include_str!("../../Cargo.toml");
const README: &str = include_str!("../../README.md");
const LOCK: &str = include_str!("../../Cargo.lock");
const PAGE: &str = include_str!("../../../../docs/mcp.md");
const FRAMEWORKS: &str = include_str!("../../../../docs/frameworks.md");

#[test]
fn the_page_has_the_server() {
    let (_, rest) =
        PAGE.split_once("<!-- adapters/rmcp/examples/server.rs -->\n```rust\n").unwrap();
    assert_eq!(rest.split_once("```").unwrap().0, include_str!("../../examples/server.rs"));
}

#[test]
fn the_table_of_versions_is_that_of_the_manifest() {
    let version = |name: &str| {
        let line = MANIFEST.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        let version = line.split_once("version = \"").unwrap().1;
        version.split('"').next().unwrap().to_owned()
    };
    let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
    let row = format!(
        "| {} | {} | {} |",
        minor(env!("CARGO_PKG_VERSION")),
        version("rmcp"),
        minor(&version("rappel-core")),
    );
    assert!(README.contains(&row), "the README has no row `{row}`");
}

#[test]
fn the_table_of_frameworks_has_the_versions_that_are_tested() {
    let (_, locked) = LOCK.split_once("name = \"rmcp\"\nversion = \"").unwrap();
    let locked = locked.split('"').next().unwrap();
    for row in ["`rmcp`, a client", "`rmcp`, a server"] {
        assert!(FRAMEWORKS.contains(&format!("| {row} | {locked} |")), "{row} {locked}");
    }
    let package = include_str!("../everything/package.json");
    let (_, server) =
        package.split_once("\"@modelcontextprotocol/server-everything\": \"").unwrap();
    let server =
        format!("`@modelcontextprotocol/server-everything` {}", server.split('"').next().unwrap());
    assert!(FRAMEWORKS.contains(&server), "{server}");
}
