//! Fix: `with_handler`.

use rappel_core::prelude::*;

struct Printer;

impl CallbackHandler for Printer {}

fn main() {
    let _ = CallbackManager::default().with_async_handler(Printer);
}
