//! Fix: rappel-local, or `Arc`.

use std::rc::Rc;

use rappel_core::prelude::*;

fn main() {
    let name = Rc::new(String::from("name"));
    let _ = CallbackManager::default().with_handler(handler_fn(move |_event, _cx| {
        println!("{name}");
        Ok(())
    }));
}
