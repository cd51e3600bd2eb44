//! Waiting on a thread: the event is accepted here, and the runtime polls handlers.

use core::future::poll_fn;

use super::emit::{Emit, End, EndState, SendEvent, Sending};
use super::handle::RunHandle;
use super::start::{Kept, Start};
use super::state::TAKE_OVER;
use crate::model::error::EmitError;
use crate::util::block_on;

impl Emit<'_> {
    /// Blocks this thread until all awaited handlers have handled the event. The runtime polls
    /// async handlers; no handler is called on this thread.
    ///
    /// # Errors
    /// Those of the future; [`EmitError::WouldBlock`] on a thread that drives the runtime, as
    /// far as it can tell, and inside the call of an async or inline handler. The event has not
    /// happened then.
    pub fn wait(mut self) -> Result<(), EmitError> {
        let Some(handle) = &mut self.handle else { return Ok(()) };
        handle.run().setup.engine.may_wait()?;
        block_on(poll_fn(|cx| handle.poll_sent(true, cx)))
    }
}

impl End {
    /// Blocks this thread until all awaited handlers have handled the end.
    ///
    /// # Errors
    /// Those of the future; [`EmitError::WouldBlock`] as [`Emit::wait`] has it. The end is
    /// still delivered: only the waiting has failed.
    pub fn wait(mut self) -> Result<(), EmitError> {
        if self.run.setup.has_handlers() && !matches!(self.state, EndState::Done) {
            self.run.setup.engine.may_wait()?;
        }
        if let EndState::Decided = self.state {
            // A poll before this drives the run. From here on, the runtime does.
            self.run.request(TAKE_OVER);
        }
        block_on(poll_fn(|cx| self.poll_end(true, cx)))
    }
}

impl SendEvent {
    /// Blocks this thread until all awaited handlers have handled the event.
    ///
    /// # Errors
    /// Those of the future; [`EmitError::WouldBlock`] as [`Emit::wait`] has it.
    pub fn wait(mut self) -> Result<(), EmitError> {
        if let Sending::Polled(end) = self.0 {
            return end.wait();
        }
        if let Sending::New(new) = &self.0 {
            new.1.setup.engine.may_wait()?;
        }
        block_on(poll_fn(|cx| self.poll_send(true, cx)))
    }
}

#[allow(private_bounds, reason = "the public runs are the only kinds of run")]
impl<R: From<RunHandle>> Kept<R> {
    /// Blocks this thread until all awaited handlers have handled the start.
    ///
    /// # Errors
    /// [`EmitError::WouldBlock`] as [`Emit::wait`] has it. The run has not started then.
    pub fn wait(mut self) -> Result<(R, Result<(), EmitError>), EmitError> {
        let setup = self.handle.as_ref().map(|handle| &handle.run().setup);
        if let Some(setup) = setup.filter(|setup| setup.has_handlers()) {
            setup.engine.may_wait()?;
        }
        let (handle, result) = block_on(poll_fn(|cx| self.poll_start(true, cx)));
        Ok((R::from(handle), result))
    }
}

#[allow(private_bounds, reason = "the public runs are the only kinds of run")]
impl<R: From<RunHandle>> Start<R> {
    /// Blocks this thread until all awaited handlers have handled the start.
    ///
    /// # Errors
    /// Those of the future; [`EmitError::WouldBlock`] as [`Emit::wait`] has it. The run has not
    /// started then.
    pub fn wait(self) -> Result<R, EmitError> {
        let (run, result) = self.0.wait()?;
        result.map(|()| run)
    }
}
