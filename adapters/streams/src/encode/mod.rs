//! Encoders: from records of events to the JSON that front ends read. They do no I/O.

mod ag_ui;
mod change;
mod ids;
mod langchain;
mod model;
mod parts;
mod ui_message_stream;
mod view;

pub use ag_ui::{AgUi, ag_ui};
pub use langchain::{LangChain, langchain};
pub use parts::Parts;
pub use ui_message_stream::{UiMessageStream, ui_message_stream};

use rappel_core::record::EventRecord;

use crate::buffer::Lagged;

/// A protocol of a front end, with the state of one response.
///
/// After [`finish`](Self::finish) or [`lagged`](Self::lagged) nothing is open, and nothing more is
/// encoded.
pub trait Encoder {
    /// Adds the parts of an event.
    fn encode(&mut self, record: &EventRecord, parts: &mut Parts);

    /// The reader was cut off: closes what is open, and adds the protocol's error.
    fn lagged(&mut self, lagged: Lagged, parts: &mut Parts);

    /// The events are over: closes what is open, and adds the protocol's last part.
    fn finish(&mut self, parts: &mut Parts);

    /// The data of the last server-sent event, if it is not JSON.
    fn last_data(&self) -> Option<&'static str> {
        None
    }

    /// The headers of the response.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        crate::sse::SSE_HEADERS
    }
}
