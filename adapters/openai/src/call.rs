//! The settings of one call: those of the model, with the options of the call.

use std::sync::Arc;

use rappel_core::{CallOptions, Message};

use crate::client::Client;
use crate::error::OpenAiError;
use crate::memory::Memory;
use crate::settings::{Settings, StreamOptions};
use crate::wire::ChatRequest;

/// A client, and the settings of the requests that it sends.
pub(crate) struct Call {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) memory: Arc<Memory>,
}

impl Call {
    /// The same with the options of a call.
    ///
    /// # Errors
    /// If an option has a value that cannot be sent.
    pub(crate) fn with(self: &Arc<Self>, options: &CallOptions) -> Result<Arc<Self>, OpenAiError> {
        let settings = self.settings.with(options)?;
        let client = self.client.with(options)?;
        if settings.is_none() && client.is_none() {
            return Ok(self.clone());
        }
        Ok(Arc::new(Self {
            client: client.unwrap_or_else(|| self.client.clone()),
            settings: settings.unwrap_or_else(|| self.settings.clone()),
            memory: self.memory.clone(),
        }))
    }

    /// # Errors
    /// A message that cannot be sent.
    pub(crate) fn request<'a>(
        &'a self,
        messages: &'a [Message],
        stream: bool,
    ) -> Result<ChatRequest<'a>, OpenAiError> {
        let short_reasoning = self.memory.has_short_reasoning();
        let mut request = self.settings.request(messages, stream, short_reasoning)?;
        if self.memory.refuses_stream_options()
            && matches!(self.settings.stream_options, StreamOptions::Usage)
        {
            request.stream_options = None;
        }
        Ok(request)
    }

    /// Returns `true` if the server refused a request because of the `stream_options` that it did
    /// not ask for. From then on requests have none.
    pub(crate) fn refuses_stream_options(
        &self,
        request: &ChatRequest<'_>,
        error: &OpenAiError,
    ) -> bool {
        let OpenAiError::Status { status: 400 | 422, message, .. } = error else {
            return false;
        };
        let refused = request.stream_options.is_some()
            && matches!(self.settings.stream_options, StreamOptions::Usage)
            && ["stream_options", "include_usage"].iter().any(|name| message.contains(name));
        refused && !self.memory.note_refusal()
    }
}
