//! The emitter's span in the handlers' calls.

use std::sync::Arc;

use rappel_core::event::{CapturedContext, EmitterContext};
use tracing::{Dispatch, Span, dispatcher};

/// Carries the span that an event is emitted in, and its subscriber, to the handlers' calls.
///
/// What a handler logs is then in that span: also a sync handler on a thread of the blocking
/// executor, and a handler in the background that is called after the emitter has gone on.
///
/// Without a subscriber, or outside of any span, nothing is captured, and an event costs a look at
/// the thread's subscriber more. With a span, each event of a handler with a queue is kept in an
/// allocation of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct EmitterSpan;

struct Captured {
    subscriber: Dispatch,
    span: Span,
}

impl EmitterContext for EmitterSpan {
    fn capture(&self) -> Option<Arc<dyn CapturedContext>> {
        let span = Span::current();
        if span.is_disabled() {
            return None;
        }
        let subscriber = dispatcher::get_default(Dispatch::clone);
        Some(Arc::new(Captured { subscriber, span }))
    }
}

impl CapturedContext for Captured {
    fn within(&self, call: &mut dyn FnMut()) {
        dispatcher::with_default(&self.subscriber, || self.span.in_scope(call));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_subscriber_nothing_is_captured() {
        let span = tracing::info_span!("request");
        let _inside = span.enter();
        assert!(EmitterSpan.capture().is_none());
    }

    #[test]
    fn the_subscriber_comes_along() {
        let subscriber = Dispatch::new(tracing_subscriber::registry());
        let captured = dispatcher::with_default(&subscriber, || {
            assert!(EmitterSpan.capture().is_none(), "there is no span yet");
            let span = tracing::info_span!("request");
            let _inside = span.enter();
            EmitterSpan.capture()
        });
        let captured = captured.expect("there was a span");
        std::thread::spawn(move || {
            assert!(Span::current().is_none());
            let mut name = None;
            captured.within(&mut || name = Span::current().metadata().map(|span| span.name()));
            assert_eq!(name, Some("request"));
            assert!(Span::current().is_none());
        })
        .join()
        .expect("the thread has not panicked");
    }
}
