//! The open run of a model.

use std::collections::{BTreeMap, HashSet};

use rappel_core::{LlmNewToken, RunId, ToolCall, ToolCallChunk};

use super::change::{Change, Changes};
use super::ids::Ids;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) parent: Option<RunId>,
    /// The model is inside a tool: its text is not the answer.
    pub(super) is_hidden: bool,
    text: Option<String>,
    reasoning: Option<String>,
    pub(super) has_text: bool,
    pub(super) has_reasoning: bool,
    /// The calls that have begun, by their index.
    pub(super) calls: BTreeMap<u32, BegunCall>,
    /// The ids of tools that no model had announced and that started during this run: they may
    /// run for calls that this model announces later.
    pub(super) early: HashSet<String>,
}

#[derive(Debug, Default)]
pub(super) struct BegunCall {
    /// The id at the server.
    pub(super) server_id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: String,
    /// The id at the page, if the call is announced.
    pub(super) id: Option<String>,
    /// The tool has started: the call is complete.
    pub(super) is_done: bool,
}

/// A call that was announced and broke off.
#[derive(Debug)]
pub(super) struct BrokenCall {
    /// The id at the page.
    pub(super) id: String,
    name: String,
    arguments: String,
}

impl BrokenCall {
    pub(super) fn fail(&self, why: &str, changes: &mut Changes<'_>) {
        let Self { id, name, arguments } = self;
        changes(Change::CallFailed { id, name, arguments, error: why, streamed: true });
    }
}

impl Model {
    pub(super) fn new(name: String, parent: Option<RunId>, is_hidden: bool) -> Self {
        Self { name, parent, is_hidden, ..Self::default() }
    }

    /// A token of the answer.
    pub(super) fn token(&mut self, token: &LlmNewToken, ids: &mut Ids, changes: &mut Changes<'_>) {
        self.push_reasoning(token.reasoning(), ids, changes);
        self.push_text(&token.token, ids, changes);
        for piece in token.tool_calls() {
            self.piece(piece, ids, changes);
        }
    }

    pub(super) fn push_reasoning(&mut self, delta: &str, ids: &mut Ids, changes: &mut Changes<'_>) {
        if delta.is_empty() {
            return;
        }
        self.end_text(changes);
        self.has_reasoning = true;
        let id = self.reasoning.get_or_insert_with(|| {
            let id = ids.new_part("reasoning");
            changes(Change::ReasoningStart(&id));
            id
        });
        changes(Change::Reasoning(id, delta));
    }

    pub(super) fn push_text(&mut self, delta: &str, ids: &mut Ids, changes: &mut Changes<'_>) {
        if delta.is_empty() {
            return;
        }
        self.end_reasoning(changes);
        self.has_text = true;
        let id = self.text.get_or_insert_with(|| {
            let id = ids.new_part("text");
            changes(Change::TextStart(&id));
            id
        });
        changes(Change::Text(id, delta));
    }

    /// A piece of a tool call.
    fn piece(&mut self, piece: &ToolCallChunk, ids: &mut Ids, changes: &mut Changes<'_>) {
        let call = self.calls.entry(piece.index).or_default();
        call.server_id = call.server_id.take().or_else(|| piece.id.clone());
        if let Some(name) = &piece.name
            && call.name.is_empty()
        {
            call.name.clone_from(name);
        }
        call.arguments.push_str(&piece.arguments);
        // A call is announced when its id and its name are known.
        let Some(server_id) = call.server_id.as_ref().filter(|_| !call.name.is_empty()) else {
            return;
        };
        call.is_done |= call.id.is_none() && self.early.contains(server_id);
        if call.is_done {
            return;
        }
        let delta = if call.id.is_some() { &piece.arguments } else { &call.arguments };
        let id = call.id.get_or_insert_with(|| {
            let id = ids.announce(server_id, self.parent);
            changes(Change::CallStart { id: &id, name: &call.name });
            id
        });
        if !delta.is_empty() {
            changes(Change::CallArguments { id, delta });
        }
    }

    /// A call of the result. `run` is the model's own.
    pub(super) fn call(
        &mut self,
        run: RunId,
        index: usize,
        call: &ToolCall,
        ids: &mut Ids,
        changes: &mut Changes<'_>,
    ) {
        let begun = self.take_begun(index, call.id.as_deref()).unwrap_or_default();
        let server_id = call.id.clone().or(begun.server_id);
        let is_early = server_id.as_ref().is_some_and(|id| self.early.contains(id));
        let streamed = begun.id.is_some();
        if begun.is_done || (is_early && !streamed) {
            return;
        }
        let id = begun.id.unwrap_or_else(|| {
            let server_id = server_id.unwrap_or_else(|| run.to_string());
            ids.announce(&server_id, self.parent)
        });
        let (id, name, arguments) = (&*id, &*call.name, &*call.arguments);
        match call.parse_arguments() {
            Ok(input) => {
                ids.complete(id);
                let input = &input;
                changes(Change::Call { id, name, input, arguments, streamed, by_model: true });
            }
            Err(error) => {
                ids.remove(id);
                let error = &format!("the arguments are not JSON: {error}");
                changes(Change::CallFailed { id, name, arguments, error, streamed });
            }
        }
    }

    /// Takes the begun call that is complete now: the one with the id, or, if one of the two has
    /// no id, the one with the index.
    fn take_begun(&mut self, index: usize, id: Option<&str>) -> Option<BegunCall> {
        let has_id = |call: &BegunCall| id.is_some() && call.server_id.as_deref() == id;
        let same_id = self.calls.iter().find(|(_, call)| has_id(call)).map(|(key, _)| *key);
        let same_index = self.calls.get(&(index as u32));
        let same_index = same_index.filter(|call| id.is_none() || call.server_id.is_none());
        let key = same_id.or(same_index.map(|_| index as u32))?;
        self.calls.remove(&key)
    }

    pub(super) fn end_text(&mut self, changes: &mut Changes<'_>) {
        if let Some(id) = self.text.take() {
            changes(Change::TextEnd(&id));
        }
    }

    pub(super) fn end_reasoning(&mut self, changes: &mut Changes<'_>) {
        if let Some(id) = self.reasoning.take() {
            changes(Change::ReasoningEnd(&id));
        }
    }

    /// Closes what is open. The calls that are not complete have failed.
    pub(super) fn close(&mut self, why: &str, ids: &mut Ids, changes: &mut Changes<'_>) {
        for call in self.break_off(ids, changes) {
            call.fail(why, changes);
        }
    }

    /// Ends the text and the reasoning, and returns the calls that are not complete.
    pub(super) fn break_off(
        &mut self,
        ids: &mut Ids,
        changes: &mut Changes<'_>,
    ) -> Vec<BrokenCall> {
        self.end_text(changes);
        self.end_reasoning(changes);
        let calls = std::mem::take(&mut self.calls).into_values();
        let broken = calls.filter(|call| !call.is_done).filter_map(|call| {
            let BegunCall { name, arguments, id, .. } = call;
            let id = id?;
            ids.remove(&id);
            Some(BrokenCall { id, name, arguments })
        });
        broken.collect()
    }

    /// A further attempt: nothing of its text and its calls has come yet.
    pub(super) fn begin_again(&mut self) {
        (self.has_text, self.has_reasoning) = (false, false);
        self.early.clear();
    }
}
