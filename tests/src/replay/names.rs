//! What a program's aliases stand for at each step. A run has a kind, and an alias until it ends.

use std::collections::HashMap;
use std::marker::PhantomData;

use rappel_core::{ChainRun, LlmRun, RetrieverRun, RunId, ToolRun};

use super::error::Flaw;

/// A run of the public API.
pub(super) trait Run {
    /// The kind's name in errors.
    const NAME: &'static str;

    fn id(&self) -> RunId;
}

macro_rules! runs {
    ($($run:ident $name:literal,)+) => {$(
        impl Run for $run {
            const NAME: &'static str = $name;

            fn id(&self) -> RunId {
                self.id()
            }
        }
    )+};
}
runs! {
    LlmRun "an llm's or a chat model's run",
    ChainRun "a chain's run",
    ToolRun "a tool's run",
    RetrieverRun "a retriever's run",
}

/// A run that a checked program names while it is open.
#[derive(Debug)]
pub(super) struct Open<R> {
    pub(super) id: RunId,
    kind: PhantomData<fn() -> R>,
}

/// A run that can have children.
#[derive(Debug)]
pub(super) enum Parent {
    Chain(Open<ChainRun>),
    Tool(Open<ToolRun>),
    Retriever(Open<RetrieverRun>),
}

/// A manager, by its place in the order of making. The root is the first.
pub(super) type ManagerIndex = usize;

enum Named {
    Manager(ManagerIndex),
    /// With its [`Run::NAME`].
    Open(&'static str, RunId),
    Ended,
    CustomEvent,
}

/// The aliases so far.
pub(super) struct Names {
    known: HashMap<String, Named>,
    managers: usize,
    ids: HashMap<RunId, String>,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            known: HashMap::from([("root".to_owned(), Named::Manager(0))]),
            managers: 1,
            ids: HashMap::new(),
        }
    }

    pub(super) fn manager(&self, alias: String) -> Result<ManagerIndex, Flaw> {
        match self.named(&alias)? {
            Named::Manager(index) => Ok(*index),
            _ => Err(Flaw::NoManager(alias)),
        }
    }

    pub(super) fn open<R: Run>(&self, alias: String) -> Result<Open<R>, Flaw> {
        self.open_if_any(&alias)?.ok_or(Flaw::WrongRun { alias, wanted: R::NAME })
    }

    /// The id of an open run of any kind.
    pub(super) fn open_id(&self, alias: String) -> Result<RunId, Flaw> {
        match self.named(&alias)? {
            Named::Open(_, id) => Ok(*id),
            Named::Ended => Err(Flaw::HasEnded(alias)),
            _ => Err(Flaw::WrongRun { alias, wanted: "a run" }),
        }
    }

    /// Ends a run. No later step may name it.
    pub(super) fn end<R: Run>(&mut self, alias: String) -> Result<Open<R>, Flaw> {
        let run = self.open(alias.clone())?;
        self.known.insert(alias, Named::Ended);
        Ok(run)
    }

    pub(super) fn parent(&self, alias: String) -> Result<Parent, Flaw> {
        if let Some(chain) = self.open_if_any(&alias)? {
            Ok(Parent::Chain(chain))
        } else if let Some(tool) = self.open_if_any(&alias)? {
            Ok(Parent::Tool(tool))
        } else if let Some(retriever) = self.open_if_any(&alias)? {
            Ok(Parent::Retriever(retriever))
        } else {
            let wanted = "a run that has children";
            Err(Flaw::WrongRun { alias, wanted })
        }
    }

    pub(super) fn make_manager(&mut self, alias: String) -> Result<(), Flaw> {
        let manager = Named::Manager(self.managers);
        self.managers += 1;
        self.name(alias, manager)
    }

    pub(super) fn make_run<R: Run>(&mut self, alias: String) -> Result<RunId, Flaw> {
        let id = self.make_id(&alias);
        self.name(alias, Named::Open(R::NAME, id))?;
        Ok(id)
    }

    pub(super) fn make_custom_event(&mut self, alias: String) -> Result<RunId, Flaw> {
        let id = self.make_id(&alias);
        self.name(alias, Named::CustomEvent)?;
        Ok(id)
    }

    /// The aliases of everything that has an id.
    pub(super) fn into_ids(self) -> HashMap<RunId, String> {
        self.ids
    }

    fn open_if_any<R: Run>(&self, alias: &str) -> Result<Option<Open<R>>, Flaw> {
        match self.named(alias)? {
            Named::Ended => Err(Flaw::HasEnded(alias.to_owned())),
            Named::Open(kind, id) if *kind == R::NAME => {
                Ok(Some(Open { id: *id, kind: PhantomData }))
            }
            _ => Ok(None),
        }
    }

    fn named(&self, alias: &str) -> Result<&Named, Flaw> {
        self.known.get(alias).ok_or_else(|| Flaw::UnknownAlias(alias.to_owned()))
    }

    /// Ids count up, so that they are sorted by the order of making.
    fn make_id(&mut self, alias: &str) -> RunId {
        let number = self.ids.len() as u128 + 1;
        let id = RunId::from_bytes(number.to_be_bytes());
        self.ids.insert(id, alias.to_owned());
        id
    }

    fn name(&mut self, alias: String, named: Named) -> Result<(), Flaw> {
        if self.known.contains_key(&alias) {
            return Err(Flaw::UsedTwice(alias));
        }
        self.known.insert(alias, named);
        Ok(())
    }
}
