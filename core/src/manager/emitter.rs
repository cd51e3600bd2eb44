//! What is carried from the emitter to the handlers' calls.

use alloc::sync::Arc;

use super::CallbackManager;
use crate::model::emitter::EmitterContext;

impl CallbackManager {
    /// Sets what is carried from the emitter to the handlers' calls: the current span of a tracing
    /// system, for example. Child runs inherit it.
    ///
    /// It is captured when an event is accepted, and is in force in each call for that event, on
    /// whatever thread. For the end of a run that is dropped it is captured at the drop.
    #[must_use]
    pub fn with_emitter_context(mut self, context: impl EmitterContext) -> Self {
        self.change().emitter_context = Some(Arc::new(context));
        self
    }
}
