//! Copies of events without secrets.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use rappel_core::{
    Content, ContentPart, Document, Event, FailureCause, FinishReason, Generation, LlmResult,
    Message, RunError, RunInfo, SharedError, TokenLogprob, TokenUsage, ToolCall, Value,
};

use super::rules::Rules;

impl Rules {
    /// A copy of an event that is not a token. `None` if the kind is not known here.
    pub(super) fn event(&self, event: &Event) -> Option<Event> {
        let mut event = event.clone();
        match &mut event {
            Event::LlmStart(start) => {
                self.shared(&mut start.name);
                self.string(&mut start.prompt);
                self.map(&mut start.invocation_params);
                self.option(&mut start.provider);
                self.option(&mut start.server_address);
            }
            Event::ChatModelStart(start) => {
                self.shared(&mut start.name);
                start.messages.iter_mut().for_each(|message| self.message(message));
                self.map(&mut start.invocation_params);
                self.option(&mut start.provider);
                self.option(&mut start.server_address);
            }
            Event::LlmEnd(end) => self.result(&mut end.result),
            Event::LlmError(end) => {
                end.error = self.run_error(&end.error);
                self.result(&mut end.partial);
            }
            Event::ChainStart(start) => {
                self.shared(&mut start.name);
                self.value(&mut start.inputs);
            }
            Event::ChainEnd(end) => self.value(&mut end.outputs),
            Event::ChainError(end) => end.error = self.run_error(&end.error),
            Event::ToolStart(start) => {
                self.shared(&mut start.name);
                self.string(&mut start.input);
                self.some_value(&mut start.inputs);
                self.option(&mut start.description);
                self.option(&mut start.tool_call_id);
                self.option(&mut start.tool_type);
            }
            Event::ToolEnd(end) => {
                self.value(&mut end.output);
                self.option(&mut end.tool_call_id);
            }
            Event::ToolError(end) => {
                end.error = self.run_error(&end.error);
                self.option(&mut end.tool_call_id);
            }
            Event::RetrieverStart(start) => {
                self.shared(&mut start.name);
                self.string(&mut start.query);
            }
            Event::RetrieverEnd(end) => {
                end.documents.iter_mut().for_each(|document| self.document(document));
            }
            Event::RetrieverError(end) => end.error = self.run_error(&end.error),
            Event::AgentAction(action) => {
                self.string(&mut action.tool);
                self.value(&mut action.tool_input);
                self.string(&mut action.log);
            }
            Event::AgentFinish(finish) => {
                self.value(&mut finish.return_values);
                self.string(&mut finish.log);
            }
            Event::Text(text) => self.string(&mut text.text),
            Event::Retry(retry) => retry.cause = self.error(&*retry.cause),
            Event::CustomEvent(custom) => {
                self.shared(&mut custom.name);
                self.value(&mut custom.data);
            }
            _ => return None,
        }
        Some(event)
    }

    fn shared(&self, text: &mut Arc<str>) {
        if let std::borrow::Cow::Owned(masked) = self.text(text) {
            *text = masked.into();
        }
    }

    fn some_value(&self, value: &mut Option<Value>) {
        if let Some(value) = value {
            self.value(value);
        }
    }

    fn message(&self, message: &mut Message) {
        match &mut message.content {
            Content::Text(text) => self.string(text),
            Content::Parts(parts) => {
                for part in parts.iter_mut() {
                    if let ContentPart::ImageUrl { url, detail } = part {
                        self.string(url);
                        self.option(detail);
                    }
                }
                self.pieces(parts.iter_mut().filter_map(|part| match part {
                    ContentPart::Text { text } => Some(text),
                    _ => None,
                }));
            }
            // What is not known here is not shown.
            content => *content = Content::Text(self.mask.clone()),
        }
        self.option(&mut message.name);
        message.tool_calls.iter_mut().for_each(|call| self.tool_call(call));
        self.option(&mut message.tool_call_id);
        self.map(&mut message.extra);
    }

    fn tool_call(&self, call: &mut ToolCall) {
        self.option(&mut call.id);
        self.string(&mut call.name);
        self.string(&mut call.arguments);
        self.map(&mut call.extra);
    }

    fn document(&self, document: &mut Document) {
        self.string(&mut document.page_content);
        self.map(&mut document.metadata);
        self.option(&mut document.id);
    }

    fn result(&self, result: &mut LlmResult) {
        result.generations.iter_mut().for_each(|generation| self.generation(generation));
        self.usage(&mut result.usage);
        self.option(&mut result.model_name);
        self.option(&mut result.response_id);
        self.option(&mut result.request_id);
        self.some_value(&mut result.llm_output);
    }

    fn generation(&self, generation: &mut Generation) {
        self.string(&mut generation.text);
        self.string(&mut generation.reasoning);
        self.string(&mut generation.refusal);
        self.finish_reason(&mut generation.finish_reason);
        generation.tool_calls.iter_mut().for_each(|call| self.tool_call(call));
        self.logprobs(&mut generation.logprobs);
        self.map(&mut generation.extra);
    }

    pub(super) fn finish_reason(&self, reason: &mut Option<FinishReason>) {
        if let Some(FinishReason::Other(text)) = reason {
            self.string(text);
        }
    }

    pub(super) fn usage(&self, usage: &mut Option<TokenUsage>) {
        if let Some(usage) = usage {
            self.map(&mut usage.extra);
        }
    }

    /// Masks each token that has a part of a secret. A secret may be spread over tokens, and a
    /// character of it over the bytes of tokens.
    fn logprobs(&self, logprobs: &mut [TokenLogprob]) {
        let texts: Vec<&str> = logprobs.iter().map(|token| &*token.token).collect();
        let mut hits = self.hits(&texts);
        let bytes: Option<Vec<&[u8]>> = logprobs.iter().map(|it| it.bytes.as_deref()).collect();
        if let Some(bytes) = bytes {
            self.add_hits_of_bytes(&bytes, &mut hits);
        }
        for (token, hit) in logprobs.iter_mut().zip(hits) {
            if hit {
                token.token.clone_from(&self.mask);
                token.bytes = None;
                token.top_logprobs.clear();
            }
            for other in &mut token.top_logprobs {
                let secret = !self.secrets(&other.token).is_empty()
                    || other.bytes.as_deref().is_some_and(|bytes| {
                        !self.secrets(&String::from_utf8_lossy(bytes)).is_empty()
                    });
                if secret {
                    other.token.clone_from(&self.mask);
                    other.bytes = None;
                }
            }
        }
    }

    fn add_hits_of_bytes(&self, pieces: &[&[u8]], hits: &mut [bool]) {
        // A part that is no UTF-8 is replaced by as many bytes, so that places stay.
        let mut bytes = pieces.concat();
        while let Err(error) = std::str::from_utf8(&bytes) {
            let at = error.valid_up_to();
            bytes[at] = b'?';
        }
        let Ok(text) = String::from_utf8(bytes) else { return };
        let secrets = self.secrets(&text);
        let mut start = 0;
        for (piece, hit) in pieces.iter().zip(hits) {
            let range = start..start + piece.len();
            start = range.end;
            *hit |= secrets.iter().any(|it| it.start < range.end && range.start < it.end);
        }
    }

    fn run_error(&self, error: &RunError) -> RunError {
        match error {
            RunError::Cancelled | RunError::TimedOut | RunError::HandedOver => error.clone(),
            RunError::Panicked(message) => RunError::Panicked(self.text(message).into()),
            RunError::Stopped(failure) => {
                let mut failure = failure.clone();
                self.shared(&mut failure.handler);
                failure.cause = match &failure.cause {
                    FailureCause::Error(error) => FailureCause::Error(self.error(&**error)),
                    FailureCause::Panicked(message) => {
                        FailureCause::Panicked(self.text(message).into())
                    }
                    cause => cause.clone(),
                };
                RunError::Stopped(failure)
            }
            RunError::Failed(cause) => {
                let redacted = RunError::Failed(self.error(&**cause));
                match error.error_type() {
                    // It has none.
                    "_OTHER" => redacted,
                    error_type => redacted.with_type(self.text(error_type).into_owned()),
                }
            }
            error => RunError::Failed(self.error(error)),
        }
    }

    fn error(&self, error: &(dyn Error + 'static)) -> SharedError {
        let mut messages = Vec::new();
        let mut next = Some(error);
        while let Some(error) = next.filter(|_| messages.len() < MOST_CAUSES) {
            messages.push(self.text(&error.to_string()).into_owned());
            next = error.source();
        }
        let first = messages.into_iter().rev().fold(None, |cause, message| {
            Some(RedactedError { message, cause: cause.map(Box::new) })
        });
        Arc::new(first.expect("there is at least the error itself"))
    }

    /// What is known about a run, without secrets.
    pub(super) fn run(&self, run: &Arc<RunInfo>) -> Arc<RunInfo> {
        let name = self.text(run.name());
        let tags: Vec<String> = run.tags().iter().map(|tag| self.text(tag).into_owned()).collect();
        let mut metadata = run.metadata().clone();
        self.map(&mut metadata);
        if *name == *run.name() && tags == run.tags() && metadata == *run.metadata() {
            return run.clone();
        }
        Arc::new(RunInfo::clone(run).with_labels(&*name, tags, metadata))
    }
}

/// Maximum number of causes of an error that are copied.
const MOST_CAUSES: usize = 32;

/// An error without secrets. Its type is gone; its message and those of its causes are there.
#[derive(Debug)]
struct RedactedError {
    message: String,
    cause: Option<Box<RedactedError>>,
}

impl fmt::Display for RedactedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for RedactedError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
