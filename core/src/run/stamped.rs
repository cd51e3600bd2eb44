//! What an event is given when it is accepted: its time, where it was recorded, and what is in force
//! for its emitter.

use core::time::Duration;

use super::state::{Run, State};
use crate::model::emitter::Captured;
use crate::model::event::EventKind;
use crate::util::{catch_unwind, drop_quietly};

impl Run {
    /// Captures what is in force for the emitter. A task that drives the run in its place captures
    /// nothing: then it is what was in force where the end was decided, or for the event before.
    #[cold]
    pub(super) fn capture(&self, state: &mut State) {
        let Some(context) = &self.setup.emitter_context else { return };
        let captured = catch_unwind(|| context.capture()).ok().flatten();
        let decided = state.rare.as_mut().and_then(|rare| rare.captured.0.take());
        let captured = captured.or(decided);
        let old = match &mut state.fan_out {
            Some(fan_out) if captured.is_some() || !state.driven => {
                core::mem::replace(&mut fan_out.at.cx.emitter, Captured(captured))
            }
            _ => Captured(captured),
        };
        drop_quietly(old);
    }

    /// The event has the time that it was given, and may be replayed.
    #[cold]
    pub(super) fn apply_stamp(&self, state: &mut State, kind: EventKind) -> Option<Duration> {
        let stamp = state.rare().stamp.take_if(|stamp| stamp.kind == kind);
        let Some(fan_out) = &mut state.fan_out else { return None };
        let Some(stamp) = stamp else {
            fan_out.at.cx.set_recorded(None);
            return self.setup.engine.clock.now();
        };
        fan_out.at.cx.set_recorded(stamp.recorded);
        stamp.time
    }

    /// Captures what is in force where the run's end is decided.
    pub(super) fn capture_at_end(&self, state: &mut State) {
        let Some(context) = &self.setup.emitter_context else { return };
        let captured = catch_unwind(|| context.capture()).ok().flatten();
        if captured.is_some() {
            state.rare().captured = Captured(captured);
        }
    }
}
