//! Fix: `Arc<Mutex<Printer>>`.

use std::sync::Arc;

use rappel_core::prelude::*;

struct Printer;

impl CallbackHandler for Printer {}

fn main() {
    let _ = CallbackManager::default().with_handler(Arc::new(Printer));
}
