//! Fix: an error type that can be made of a `RunError`.

use std::io;

use rappel_core::prelude::*;

fn main() {
    let callbacks = CallbackManager::default();
    let _ = async { Err::<(), _>(io::Error::other("broken")) }.in_chain(&callbacks, "chain", 0);
}
