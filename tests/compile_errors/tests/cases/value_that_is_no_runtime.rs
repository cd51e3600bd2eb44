//! Fix: the `Tokio::current()` of an adapter, or another runtime.

use rappel_core::prelude::*;

struct Config;

fn main() {
    let _ = CallbackManager::new(Config);
}
