//! The format's words for rappel's own types.

use std::collections::BTreeMap;

use rappel_core::{Document, EventGroup, EventKind, Message, Role, Value};

use super::fields::{Fields, FromJson};
use super::program::HandlerKind;

impl FromJson for HandlerKind {
    fn expected() -> String {
        "\"sync\" or \"async\"".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        match value.as_str()? {
            "sync" => Some(Self::Sync),
            "async" => Some(Self::Async),
            _ => None,
        }
    }
}

fn method(name: &str) -> Option<EventKind> {
    EventKind::ALL.iter().copied().find(|kind| kind.method() == name)
}

/// By the name of the handler's method.
impl FromJson for EventKind {
    fn expected() -> String {
        "method".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        method(value.as_str()?)
    }
}

/// `{METHOD: K}`.
impl FromJson for BTreeMap<EventKind, u64> {
    fn expected() -> String {
        "{method: count}".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        let counts = value.as_object()?.iter();
        counts.map(|(name, count)| Some((method(name)?, count.as_u64()?))).collect()
    }
}

impl FromJson for EventGroup {
    fn expected() -> String {
        "event group".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        match value.as_str()? {
            "llm" => Some(Self::Llm),
            "chat_model" => Some(Self::ChatModel),
            "chain" => Some(Self::Chain),
            "agent" => Some(Self::Agent),
            "retriever" => Some(Self::Retriever),
            "custom_event" => Some(Self::CustomEvent),
            _ => None,
        }
    }
}

/// The role's word in programs and logs.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Human => "human",
        Role::Ai => "ai",
        Role::System => "system",
        // The format has no other role, so that no message of a program has one.
        _ => "other",
    }
}

impl FromJson for Message {
    fn expected() -> String {
        "message".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        let mut fields = Fields::from_json(value)?;
        let word: String = fields.take("role").ok()?;
        let role =
            [Role::Human, Role::Ai, Role::System].into_iter().find(|known| role(*known) == word)?;
        Some(Self::new(role, fields.take::<String>("content").ok()?))
    }
}

/// As with LangChain, a document may come without metadata or an id.
impl FromJson for Document {
    fn expected() -> String {
        "document".to_owned()
    }

    fn from_json(value: Value) -> Option<Self> {
        let mut fields = Fields::from_json(value)?;
        let document = Self::new(fields.take::<String>("page_content").ok()?)
            .with_metadata(fields.find_or_default("metadata").ok()?);
        Some(match fields.find::<String>("id").ok()? {
            Some(id) => document.with_id(id),
            None => document,
        })
    }
}
