//! Fix: `async_handler_fn`.

use rappel_core::prelude::*;

fn main() {
    let _ = CallbackManager::default()
        .with_async_handler(async |_event: &Event, _cx: &EventContext| Ok(()));
}
