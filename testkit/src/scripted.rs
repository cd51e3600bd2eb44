//! A chat model that answers by a script.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream;
use rappel_core::{
    CallOptions, CallbackManager, ChatModel, FinishReason, LlmChunk, LlmResult, LlmStream, Message,
    RunError, TokenUsage, ToolCall, ToolCallChunk,
};

use crate::model::{Chunks, Front};

/// A chat model that gives the answers of a script, in order, and records its requests.
///
/// Its handlers get the events of a model with a server: a start, a token for each chunk, and an end
/// with the result or an error with the partial result. It waits for nothing but handlers, so it runs
/// on any runtime. Clones share the script and the requests.
///
/// ```
/// use futures_executor::block_on;
/// use rappel_core::prelude::*;
/// use rappel_testkit::{Answer, Recorder, ScriptedChatModel, expect};
/// use rappel_threads::Threads;
///
/// # fn main() -> Result<(), RunError> {
/// let recorder = Recorder::new();
/// let callbacks = CallbackManager::new(Threads::new()).with_handler(recorder.clone());
/// let model = ScriptedChatModel::new([Answer::tokens(["Why", " not", "?"])]).callbacks(callbacks);
///
/// let answer = block_on(model.invoke("Tell me a joke"))?;
/// assert_eq!(answer.text(), "Why not?");
///
/// assert_eq!(model.requests()[0].messages, [Message::human("Tell me a joke")]);
/// let run = expect().chat_model_start().saying("Human: Tell me a joke");
/// recorder.assert(run.tokens(["Why", " not", "?"]).end());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ScriptedChatModel {
    front: Front,
    script: Arc<Mutex<Script>>,
}

struct Script {
    answers: VecDeque<Answer>,
    requests: Vec<Request>,
}

/// A request to a model.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The conversation.
    pub messages: Vec<Message>,
    /// The options of the call.
    pub options: CallOptions,
    /// Whether it was a call of [`stream_with`](ChatModel::stream_with).
    pub stream: bool,
}

impl ScriptedChatModel {
    /// Makes a model with these answers. Further requests fail with [`EndOfScript`].
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let script = Script { answers: answers.into_iter().collect(), requests: Vec::new() };
        Self { front: Front::new("scripted"), script: Arc::new(Mutex::new(script)) }
    }

    /// Sets the model's own callbacks.
    #[must_use]
    pub fn callbacks(mut self, callbacks: impl Into<CallbackManager>) -> Self {
        self.front.callbacks = Some(callbacks.into());
        self
    }

    /// Sets the name of the model and of its runs. The default is `scripted`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.front.name = name.into();
        self
    }

    /// Sets whether [`generate`](ChatModel::generate) emits tokens. The default is `true`.
    #[must_use]
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.front.streaming = streaming;
        self
    }

    /// Adds an answer to the script.
    pub fn then(&self, answer: Answer) {
        self.with(|script| script.answers.push_back(answer));
    }

    /// Returns the requests so far, one for each conversation.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.with(|script| script.requests.clone())
    }

    /// Returns the number of answers that are left.
    #[must_use]
    pub fn answers_left(&self) -> usize {
        self.with(|script| script.answers.len())
    }

    fn with<T>(&self, f: impl FnOnce(&mut Script) -> T) -> T {
        f(&mut self.script.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a request and takes the next answer.
    fn ask(
        &self,
        messages: &[Message],
        options: &CallOptions,
        stream: bool,
    ) -> Result<Chunks, RunError> {
        let answer = self.with(|script| {
            script.requests.push(Request {
                messages: messages.to_vec(),
                options: options.clone(),
                stream,
            });
            script.answers.pop_front()
        });
        answer.map_or(Err(RunError::failed(EndOfScript)), Answer::into_chunks)
    }
}

#[async_trait]
impl ChatModel for ScriptedChatModel {
    async fn generate_with(
        &self,
        messages: Vec<Vec<Message>>,
        options: CallOptions,
    ) -> Vec<Result<LlmResult, RunError>> {
        let ask = |messages: &Vec<Message>| ready(self.ask(messages, &options, false));
        let answers = messages.iter().map(ask).collect();
        self.front.generate(messages, answers, &options).await
    }

    async fn stream_with(
        &self,
        messages: Vec<Message>,
        options: CallOptions,
    ) -> Result<LlmStream, RunError> {
        let answer = ready(self.ask(&messages, &options, true));
        self.front.stream(&messages, answer, &options).await
    }
}

impl fmt::Debug for ScriptedChatModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedChatModel")
            .field("name", &self.front.name)
            .field("answers_left", &self.answers_left())
            .finish_non_exhaustive()
    }
}

/// The model got more requests than its script has answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndOfScript;

impl fmt::Display for EndOfScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the script has no more answers")
    }
}

impl Error for EndOfScript {}

/// An answer of a model.
#[derive(Debug, Clone)]
pub struct Answer {
    chunks: Vec<LlmChunk>,
    error: Option<RunError>,
}

impl Answer {
    /// An answer with this text, in one token.
    pub fn text(text: impl Into<String>) -> Self {
        Self::tokens([text.into()])
    }

    /// An answer with these tokens, one chunk each. The last one has [`FinishReason::Stop`].
    pub fn tokens<T: Into<String>>(tokens: impl IntoIterator<Item = T>) -> Self {
        let answer = Self::chunks(tokens.into_iter().map(|token| LlmChunk::new(token.into())));
        answer.finish_reason(FinishReason::Stop)
    }

    /// An answer with these chunks, unchanged.
    pub fn chunks(chunks: impl IntoIterator<Item = LlmChunk>) -> Self {
        Self { chunks: chunks.into_iter().collect(), error: None }
    }

    /// A request that fails before the first token.
    pub fn error(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::chunks([]).breaking_off(cause)
    }

    /// Adds an error after the chunks.
    #[must_use]
    pub fn breaking_off(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.error = Some(RunError::failed(cause));
        self
    }

    /// Adds calls of tools after the tokens, one chunk without text each. The last one has
    /// [`FinishReason::ToolCalls`].
    #[must_use]
    pub fn tool_calls(mut self, calls: impl IntoIterator<Item = ToolCall>) -> Self {
        for chunk in &mut self.chunks {
            chunk.finish_reason = None;
        }
        let calls = calls.into_iter().zip(0..).map(|(call, index)| {
            let mut chunk = ToolCallChunk::new(index, call.arguments).with_name(call.name);
            chunk.id = call.id;
            chunk.extra = call.extra;
            LlmChunk::default().with_tool_calls([chunk])
        });
        self.chunks.extend(calls);
        self.finish_reason(FinishReason::ToolCalls)
    }

    /// Sets the finish reason of the last chunk.
    #[must_use]
    pub fn finish_reason(mut self, reason: impl Into<FinishReason>) -> Self {
        self.last().finish_reason = Some(reason.into());
        self
    }

    /// Sets the usage of the last chunk.
    #[must_use]
    pub fn usage(mut self, usage: TokenUsage) -> Self {
        self.last().usage = Some(usage);
        self
    }

    fn last(&mut self) -> &mut LlmChunk {
        if self.chunks.is_empty() {
            self.chunks.push(LlmChunk::default());
        }
        let last = self.chunks.len() - 1;
        &mut self.chunks[last]
    }

    fn into_chunks(self) -> Result<Chunks, RunError> {
        let Self { chunks, error } = self;
        match error {
            Some(error) if chunks.is_empty() => Err(error),
            error => {
                let chunks = chunks.into_iter().map(Ok).chain(error.map(Err));
                Ok(Box::pin(stream::iter(chunks)))
            }
        }
    }
}
