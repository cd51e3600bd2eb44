//! What is carried from the emitter to the handlers' calls.

use alloc::sync::Arc;

use super::CallbackManager;
use crate::model::emitter::EmitterContext;
use crate::util::setters;

impl CallbackManager {
    setters! {
        /// Sets what is carried from the emitter to the handlers' calls: the current span of a tracing
        /// system, for example. Child runs inherit it.
        ///
        /// It is captured when an event is accepted, and is in force in each call for that event, on
        /// whatever thread. For the end of a run that is dropped it is captured at the drop.
        with_emitter_context(context: impl EmitterContext) {
            self.change().emitter_context = Some(Arc::new(context))
        }
    }
}
