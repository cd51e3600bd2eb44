//! A manager's settings, which a run keeps as they were at its start.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::Engine;
use crate::dispatch::{Lane, Registered, Reporter, RunNode, Target};
use crate::model::emitter::EmitterContext;
use crate::model::event::EventKind;

/// Shared with the runs that started with it. Copied when it is changed after that.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) engine: Arc<Engine>,
    pub(crate) reporter: Reporter,
    handlers: Vec<Inheritable<Arc<Registered>>>,
    /// The handlers by where they are called: by their number, or at hand.
    pub(crate) inline: Vec<usize>,
    pub(crate) with_lane: Vec<Arc<Registered>>,
    pub(crate) in_place: Vec<(usize, Arc<Registered>)>,
    pub(crate) tags: Vec<Inheritable<String>>,
    /// Metadata of this level's runs: the inheritable entries and the others.
    pub(crate) metadata: Map<String, Value>,
    pub(crate) inheritable_metadata: Map<String, Value>,
    /// The run whose children are started.
    pub(crate) parent: Option<Arc<RunNode>>,
    /// Whether runs may outlive the parent.
    pub(crate) detached: bool,
    /// Maximum size in bytes of the text that is kept of a run.
    pub(crate) partial_limit: usize,
    pub(crate) emitter_context: Option<Arc<dyn EmitterContext>>,
}

#[derive(Clone)]
pub(crate) struct Inheritable<T> {
    pub(crate) item: T,
    pub(crate) inherit: bool,
}

/// The default of [`partial_limit`](Setup::partial_limit): 1 MiB.
const PARTIAL_LIMIT: usize = 1 << 20;

impl Setup {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self {
            engine,
            reporter: Reporter::default(),
            handlers: Vec::new(),
            inline: Vec::new(),
            with_lane: Vec::new(),
            in_place: Vec::new(),
            tags: Vec::new(),
            metadata: Map::new(),
            inheritable_metadata: Map::new(),
            parent: None,
            detached: false,
            partial_limit: PARTIAL_LIMIT,
            emitter_context: None,
        }
    }

    /// The settings without handlers, tags and metadata.
    pub(crate) fn bare(&self) -> Self {
        Self {
            reporter: self.reporter.clone(),
            parent: self.parent.clone(),
            detached: self.detached,
            partial_limit: self.partial_limit,
            emitter_context: self.emitter_context.clone(),
            ..Self::new(self.engine.clone())
        }
    }

    /// The settings of the children of `parent`.
    pub(crate) fn inherited(&self, parent: Arc<RunNode>) -> Self {
        let mut setup = Self {
            tags: self.tags.iter().filter(|tag| tag.inherit).cloned().collect(),
            metadata: self.inheritable_metadata.clone(),
            inheritable_metadata: self.inheritable_metadata.clone(),
            parent: Some(parent),
            detached: false,
            ..self.bare()
        };
        let inherited = self.handlers.iter().filter(|handler| handler.inherit);
        inherited.for_each(|handler| setup.push_handler(handler.clone()));
        setup
    }

    #[inline]
    pub(crate) fn handlers(&self) -> impl Iterator<Item = &Arc<Registered>> {
        self.handlers.iter().map(|handler| &handler.item)
    }

    #[inline]
    pub(crate) fn handler(&self, number: usize) -> Option<&Arc<Registered>> {
        self.handlers.get(number).map(|handler| &handler.item)
    }

    #[inline]
    pub(crate) fn has_lanes(&self) -> bool {
        !self.with_lane.is_empty()
    }

    /// The lanes of the handlers that have one.
    #[inline]
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.with_lane.iter().filter_map(|handler| handler.lane())
    }

    pub(crate) fn handler_count(&self) -> usize {
        self.handlers.len()
    }

    #[inline]
    pub(crate) fn has_handlers(&self) -> bool {
        !self.handlers.is_empty()
    }

    /// Adds a handler that is not there yet.
    pub(crate) fn push_handler(&mut self, handler: Inheritable<Arc<Registered>>) {
        let number = self.handlers.len();
        match &handler.item.target {
            _ if handler.item.meta.inline => self.inline.push(number),
            Target::Lane(_) => self.with_lane.push(handler.item.clone()),
            Target::Async { .. } => self.in_place.push((number, handler.item.clone())),
            Target::Inline(_) | Target::Gone => {}
        }
        self.handlers.push(handler);
    }

    /// Adds handlers that may be there already. Those stay in their place. A flush of this engine
    /// waits for all of them, whichever engine they were registered with.
    pub(crate) fn merge_handlers(&mut self, other: &Self, local: bool) {
        if !Arc::ptr_eq(&self.engine, &other.engine) {
            self.engine.register_handlers(other.handlers());
        }
        let known = self.handlers.iter().enumerate();
        let mut places: alloc::collections::BTreeMap<_, _> =
            known.map(|(number, handler)| (handler.item.meta.id, number)).collect();
        for other in &other.handlers {
            let inherit = other.inherit && !local;
            match places.get(&other.item.meta.id) {
                Some(&number) => self.handlers[number].inherit |= inherit,
                None => {
                    places.insert(other.item.meta.id, self.handlers.len());
                    self.push_handler(Inheritable { item: other.item.clone(), inherit });
                }
            }
        }
    }

    pub(crate) fn retain_handlers(&mut self, keep: impl Fn(&Registered) -> bool) {
        let handlers = core::mem::take(&mut self.handlers);
        self.inline.clear();
        self.with_lane.clear();
        self.in_place.clear();
        let kept = handlers.into_iter().filter(|handler| keep(&handler.item));
        kept.for_each(|handler| self.push_handler(handler));
    }

    /// Uses the engine of `other` if this one has no runtime.
    pub(crate) fn run_on(&mut self, other: &Self) {
        if !self.engine.real {
            self.engine = other.engine.clone();
        }
    }

    pub(crate) fn add_tag(&mut self, tag: String, inherit: bool) {
        self.tags.retain(|known| known.item != tag);
        self.tags.push(Inheritable { item: tag, inherit });
    }

    pub(crate) fn add_metadata(&mut self, key: String, value: Value, inherit: bool) {
        if inherit {
            self.inheritable_metadata.insert(key.clone(), value.clone());
        }
        self.metadata.insert(key, value);
    }

    /// The kinds that any handler wants, as bits.
    pub(crate) fn wanted_kinds(&self) -> u32 {
        self.handlers().fold(0, |kinds, handler| kinds | handler.meta.wanted_kinds())
    }

    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        self.handlers().any(|handler| handler.meta.wants(kind))
    }

    pub(crate) fn wants_token_times(&self) -> bool {
        self.handlers().any(|handler| handler.meta.wants_token_times())
    }
}
