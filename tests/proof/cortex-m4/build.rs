//! Tells the linker of the board's memory, here and where another crate is for the same board.

fn main() {
    let board = concat!(env!("CARGO_MANIFEST_DIR"), "/../cortex-m4");
    println!("cargo:rerun-if-changed={board}/memory.x");
    println!("cargo:rustc-link-search={board}");
    println!("cargo:rustc-link-arg=-Tlink.x");
}
