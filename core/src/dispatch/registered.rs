//! A handler that is registered with a manager.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use super::lane::{BoxSyncHandler, Lane, LaneOptions};
use super::meta::LaneCounts;
use super::{HandlerMeta, InlineSlot, Workers};
use crate::handler::{ErasedAsyncHandler, HandlerOptions, HandlerStats, Mode};
use crate::runtime::Runtime;
use crate::util::drop_quietly;

pub(crate) struct Registered {
    pub(crate) meta: Arc<HandlerMeta>,
    pub(crate) target: Target,
}

/// Where a handler's calls are made.
pub(crate) enum Target {
    /// On the emitter's task.
    Async { handler: Box<dyn ErasedAsyncHandler>, timeout: Option<Duration> },
    /// On the emitter's task, one call at a time.
    Inline(Box<InlineSlot>),
    /// Where its lane is served.
    Lane(Arc<Lane>),
    /// It is being dropped.
    Gone,
}

impl Registered {
    pub(crate) fn of_sync(
        handler: BoxSyncHandler,
        options: &HandlerOptions,
        workers: &Arc<Workers<Lane>>,
        runtime: &Arc<dyn Runtime>,
    ) -> Arc<Self> {
        let meta = Arc::new(HandlerMeta::new(handler.name(), handler.interest(), options));
        let (delivery, timeout) = (options.resolved_delivery(), options.timeout);
        let runtime = runtime.clone();
        let target = if meta.inline {
            let slot = InlineSlot::new(handler, meta.clone(), timeout, runtime);
            Target::Inline(Box::new(slot))
        } else {
            let options = LaneOptions { delivery, timeout, runtime };
            Target::Lane(Lane::of_sync(handler, meta.clone(), options, workers))
        };
        Arc::new(Self { meta, target })
    }

    pub(crate) fn of_async(
        handler: Box<dyn ErasedAsyncHandler>,
        options: &HandlerOptions,
        runtime: &Arc<dyn Runtime>,
    ) -> Arc<Self> {
        let (name, interest) = (handler.handler_name(), handler.handler_interest());
        let meta = Arc::new(HandlerMeta::new(name, interest, options));
        let (delivery, timeout) = (options.resolved_delivery(), options.timeout);
        let in_place = delivery.mode() == Mode::Awaited && (meta.inline || !options.on_runtime);
        let target = if in_place {
            Target::Async { handler, timeout }
        } else {
            let options = LaneOptions { delivery, timeout, runtime: runtime.clone() };
            Target::Lane(Lane::of_async(handler, meta.clone(), options))
        };
        Arc::new(Self { meta, target })
    }

    #[inline]
    pub(crate) fn lane(&self) -> Option<&Arc<Lane>> {
        match &self.target {
            Target::Lane(lane) => Some(lane),
            _ => None,
        }
    }

    pub(crate) fn stats(&self) -> HandlerStats {
        self.meta.stats(match &self.target {
            Target::Lane(lane) => lane.counts(),
            Target::Inline(slot) => {
                LaneCounts { pending: slot.deferred_events(), ..LaneCounts::default() }
            }
            Target::Async { .. } | Target::Gone => LaneCounts::default(),
        })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        // The handler's drop is user code.
        drop_quietly(core::mem::replace(&mut self.target, Target::Gone));
    }
}
