//! How a handler is registered.

use alloc::sync::Arc;
use core::marker::PhantomData;

/// The delivery in which emitting returns once the handler has handled the event: the default, as in LangChain.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Awaited;

/// How a handler is registered.
///
/// `D` is its delivery: an option that makes sense for one delivery only exists for that one only.
///
/// ```
/// use rappel_core::HandlerOptions;
///
/// let gate = HandlerOptions::new().name("gate").run_inline(true).raise_error(true).inherit(false);
/// # let _ = gate;
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until a handler is registered with them"]
pub struct HandlerOptions<D = Awaited> {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) inherit: bool,
    pub(crate) run_inline: bool,
    pub(crate) raise_error: bool,
    delivery: PhantomData<D>,
}

impl HandlerOptions {
    /// The defaults: awaited, inherited by children, not inline, and a failure is reported but not raised.
    pub fn new() -> Self {
        Self {
            name: None,
            inherit: true,
            run_inline: false,
            raise_error: false,
            delivery: PhantomData,
        }
    }
}

impl Default for HandlerOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl<D> HandlerOptions<D> {
    /// The handler's name in reports, instead of its own.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether the managers of child runs have it too; they do by default.
    pub fn inherit(mut self, inherit: bool) -> Self {
        self.inherit = inherit;
        self
    }
}

impl HandlerOptions<Awaited> {
    /// Whether it is called on the emitter's own task, before those that are not, one after the other in the order of registration.
    ///
    /// A sync handler then runs *on the event loop*, and must not block.
    pub fn run_inline(mut self, inline: bool) -> Self {
        self.run_inline = inline;
        self
    }

    /// Whether its failure comes back to the emitter as [`EmitError::Raised`](crate::EmitError::Raised), once all others have seen the event.
    pub fn raise_error(mut self, raise: bool) -> Self {
        self.raise_error = raise;
        self
    }
}
