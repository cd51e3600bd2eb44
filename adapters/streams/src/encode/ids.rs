//! The ids at the page. Each tool call has one of its own, although servers use ids again.

use std::collections::{HashMap, HashSet};

use rappel_core::RunId;

/// Gives each text and each call its id at the page, and finds the call that a tool runs for.
///
/// The first call with a server's id has that id, the second one that id and `-2`, and so on. A
/// page takes a call that uses an id again for the earlier one.
#[derive(Debug, Default)]
pub(super) struct Ids {
    /// What the ids of texts and reasoning begin with.
    prefix: String,
    parts: u64,
    taken: HashSet<String>,
    /// How many calls a server's id was used for.
    uses: HashMap<String, u64>,
    /// The calls that models announced and no tool has run for, in the order of announcement.
    waiting: Vec<WaitingCall>,
}

/// A call that a model announced.
#[derive(Debug)]
pub(super) struct WaitingCall {
    server_id: String,
    /// Its id at the page.
    pub(super) id: String,
    /// The parent of the model's run.
    parent: Option<RunId>,
    /// Whether its input is complete.
    pub(super) is_complete: bool,
}

impl Ids {
    /// Sets what the ids of texts and reasoning begin with.
    pub(super) fn set_prefix(&mut self, prefix: String) {
        self.prefix = prefix;
    }

    /// A new id of a text or reasoning.
    pub(super) fn new_part(&mut self, kind: &str) -> String {
        self.parts += 1;
        format!("{}{kind}-{}", self.prefix, self.parts)
    }

    /// A free id for a call that has this id at the server.
    pub(super) fn new_call(&mut self, server_id: &str) -> String {
        let uses = self.uses.entry(server_id.to_owned()).or_default();
        loop {
            *uses += 1;
            let id = match *uses {
                1 => server_id.to_owned(),
                number => format!("{server_id}-{number}"),
            };
            if self.taken.insert(id.clone()) {
                return id;
            }
        }
    }

    /// Announces a call of a model, and returns its id at the page.
    pub(super) fn announce(&mut self, server_id: &str, parent: Option<RunId>) -> String {
        let id = self.new_call(server_id);
        let (server_id, is_complete) = (server_id.to_owned(), false);
        self.waiting.push(WaitingCall { server_id, id: id.clone(), parent, is_complete });
        id
    }

    /// The input of the call is complete.
    pub(super) fn complete(&mut self, id: &str) {
        if let Some(call) = self.waiting.iter_mut().find(|call| call.id == id) {
            call.is_complete = true;
        }
    }

    /// The call has failed, so no tool runs for it.
    pub(super) fn remove(&mut self, id: &str) {
        self.waiting.retain(|call| call.id != id);
    }

    /// The call that a tool runs for: the last one with the id, of a model beside the tool if there
    /// is one.
    pub(super) fn take(&mut self, server_id: &str, parent: Option<RunId>) -> Option<WaitingCall> {
        let calls = self.waiting.iter().enumerate();
        let (at, _) = calls
            .filter(|(_, call)| call.server_id == server_id)
            .max_by_key(|(at, call)| (call.parent == parent, *at))?;
        Some(self.waiting.remove(at))
    }

    /// The calls that no tool has run for.
    pub(super) fn take_all(&mut self) -> Vec<WaitingCall> {
        std::mem::take(&mut self.waiting)
    }
}
