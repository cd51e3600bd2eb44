//! Tokens without secrets, which may straddle them.

use std::collections::BTreeMap;

use rappel_core::{LlmChunk, LlmNewToken, Map, ToolCallChunk};

use super::rules::{Rules, begins_json};
use super::stream::Stream;

/// Maximum number of choices of a run, and of tool calls of a choice. Their numbers come from
/// servers. What is above is counted as the last, as in a result.
const MOST_CHOICES: u32 = 128;
const MOST_CALLS: u32 = 1024;

/// Maximum size of a text that is held back as a whole, in bytes.
const MOST_HELD: usize = 1 << 20;

/// The texts of an open run.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    choices: BTreeMap<u32, Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    text: Text,
    reasoning: Text,
    refusal: Text,
    calls: BTreeMap<u32, Call>,
}

#[derive(Debug, Default)]
struct Call {
    name: Stream,
    arguments: Text,
}

/// A text that comes in pieces. With keys, JSON is held back as a whole, because a key and its value
/// may be in different pieces.
#[derive(Debug, Default)]
struct Text {
    stream: Stream,
    form: Form,
    /// What has not gone to the stream.
    held: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// All that came is blank.
    #[default]
    Unknown,
    Plain,
    Json,
    /// JSON that is too long to be held back. It is not delivered.
    Cut,
}

impl Tokens {
    /// The token with what can go out. `None` if that is nothing.
    pub(super) fn next(&mut self, token: &LlmNewToken, rules: &Rules) -> Option<LlmNewToken> {
        let number = token.choice().min(MOST_CHOICES - 1);
        let choice = self.choices.entry(number).or_default();
        let text = choice.text.push(&token.token, rules);
        let Some(chunk) = &token.chunk else {
            return (!text.is_empty()).then(|| LlmNewToken::new(text));
        };
        let mut out = choice.chunk(chunk, rules);
        // Texts of tokens with and without a chunk go on from each other.
        out.text = text.into();
        if chunk.finish_reason.is_some() {
            choice.finish_chunk(&mut out, rules);
        }
        Some(LlmNewToken::from(out)).filter(has_something)
    }

    /// What is left at the end of the run.
    pub(super) fn finish(self, rules: &Rules) -> Vec<LlmNewToken> {
        let rest = self.choices.into_iter().map(|(index, mut choice)| {
            let mut chunk = LlmChunk::default().with_index(index);
            choice.finish_chunk(&mut chunk, rules);
            LlmNewToken::from(chunk)
        });
        rest.filter(has_something).collect()
    }
}

impl Choice {
    fn chunk(&mut self, chunk: &LlmChunk, rules: &Rules) -> LlmChunk {
        let mut out = chunk.clone();
        out.reasoning = self.reasoning.push(&chunk.reasoning, rules).into();
        out.refusal = self.refusal.push(&chunk.refusal, rules).into();
        let calls = chunk.tool_calls.iter().filter_map(|call| self.call(call, rules));
        out.tool_calls = calls.collect();
        // These are joined over chunks, so that one chunk does not show what is in them.
        out.logprobs = Vec::new();
        out.extra = Map::new();
        rules.finish_reason(&mut out.finish_reason);
        rules.usage(&mut out.usage);
        rules.option(&mut out.model_name);
        rules.option(&mut out.response_id);
        rules.option(&mut out.request_id);
        rules.map(&mut out.llm_output);
        out
    }

    fn call(&mut self, chunk: &ToolCallChunk, rules: &Rules) -> Option<ToolCallChunk> {
        let index = chunk.index.min(MOST_CALLS - 1);
        let call = self.calls.entry(index).or_default();
        let mut name =
            chunk.name.as_deref().map_or_else(String::new, |it| call.name.push(it, rules));
        if !chunk.arguments.is_empty() {
            name.push_str(&call.name.finish(rules));
        }
        let arguments = call.arguments.push(&chunk.arguments, rules);
        let mut out = ToolCallChunk::new(chunk.index, arguments);
        out.id.clone_from(&chunk.id);
        rules.option(&mut out.id);
        out.name = (!name.is_empty()).then_some(name);
        (out.id.is_some() || out.name.is_some() || !out.arguments.is_empty()).then_some(out)
    }

    /// Adds all that is held back to a chunk.
    fn finish_chunk(&mut self, out: &mut LlmChunk, rules: &Rules) {
        let join = |known: &str, text: &mut Text| (known.to_owned() + &text.finish(rules)).into();
        out.text = join(&out.text, &mut self.text);
        out.reasoning = join(&out.reasoning, &mut self.reasoning);
        out.refusal = join(&out.refusal, &mut self.refusal);
        for (index, call) in &mut self.calls {
            let (name, arguments) = (call.name.finish(rules), call.arguments.finish(rules));
            if name.is_empty() && arguments.is_empty() {
                continue;
            }
            let mut rest = ToolCallChunk::new(*index, arguments);
            rest.name = (!name.is_empty()).then_some(name);
            out.tool_calls.push(rest);
        }
    }
}

impl Text {
    /// Takes the next piece, and returns what can go out.
    fn push(&mut self, piece: &str, rules: &Rules) -> String {
        match self.form {
            Form::Plain => return self.stream.push(piece, rules),
            Form::Unknown if !rules.has_keys() => return self.stream.push(piece, rules),
            Form::Cut => return String::new(),
            Form::Unknown | Form::Json => {}
        }
        self.held.push_str(piece);
        if self.form == Form::Unknown {
            self.form = match begins_json(&self.held) {
                Some(true) => Form::Json,
                Some(false) => Form::Plain,
                None => Form::Unknown,
            };
        }
        let is_full = self.held.len() > MOST_HELD;
        match self.form {
            Form::Json if is_full => {
                self.form = Form::Cut;
                self.held = String::new();
            }
            Form::Unknown if is_full => self.form = Form::Plain,
            _ => {}
        }
        if self.form != Form::Plain {
            return String::new();
        }
        let held = std::mem::take(&mut self.held);
        self.stream.push(&held, rules)
    }

    /// Returns the rest. A text that goes on after this is a new one.
    fn finish(&mut self, rules: &Rules) -> String {
        let held = std::mem::take(&mut self.held);
        match std::mem::take(&mut self.form) {
            Form::Cut => rules.mask.clone(),
            _ => self.stream.finish(rules) + &rules.text(&held),
        }
    }
}

fn has_something(token: &LlmNewToken) -> bool {
    let chunk = token.chunk.as_ref();
    !token.token.is_empty()
        || chunk.is_some_and(|chunk| {
            !chunk.reasoning.is_empty()
                || !chunk.refusal.is_empty()
                || !chunk.tool_calls.is_empty()
                || !chunk.llm_output.is_empty()
                || chunk.finish_reason.is_some()
                || chunk.usage.is_some()
                || chunk.model_name.is_some()
                || chunk.response_id.is_some()
                || chunk.request_id.is_some()
        })
}
