//! Fix: rappel-local, or `Arc<Mutex<_>>`.

use std::cell::RefCell;
use std::rc::Rc;

use rappel_core::prelude::*;

struct Lines(Rc<RefCell<Vec<String>>>);

impl CallbackHandler for Lines {}

fn main() {
    let _ = CallbackManager::default().with_handler(Lines(Rc::default()));
}
