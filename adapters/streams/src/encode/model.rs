//! The open run of a model.

use std::collections::{HashMap, HashSet};

use rappel_core::RunId;

use super::change::Change;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) parent: Option<RunId>,
    /// The model is inside a tool: its text is not the answer.
    pub(super) is_hidden: bool,
    pub(super) text: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) has_text: bool,
    pub(super) has_reasoning: bool,
    /// The calls that have begun, by their index.
    pub(super) calls: HashMap<u32, BegunCall>,
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

impl Model {
    /// Takes the begun call that is complete now.
    pub(super) fn take_begun(&mut self, index: usize, id: Option<&str>) -> Option<BegunCall> {
        let has_id = |call: &BegunCall| id.is_some() && call.server_id.as_deref() == id;
        let same_id = self.calls.iter().find(|(_, call)| has_id(call));
        let key = same_id.map_or(index as u32, |(key, _)| *key);
        self.calls.remove(&key)
    }

    pub(super) fn end_text(&mut self, changes: &mut Vec<Change>) {
        changes.extend(self.text.take().map(Change::TextEnd));
    }

    pub(super) fn end_reasoning(&mut self, changes: &mut Vec<Change>) {
        changes.extend(self.reasoning.take().map(Change::ReasoningEnd));
    }
}
