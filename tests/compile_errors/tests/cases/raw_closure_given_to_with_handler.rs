//! Fix: `handler_fn`.

use rappel_core::prelude::*;

fn main() {
    let _ = CallbackManager::default().with_handler(|_event: &Event, _cx: &EventContext| Ok(()));
}
